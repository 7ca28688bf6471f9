// Draws an image from shared memory into the picture, with one invocation per pixel. This file is
// combined with `elements.wgsl`, which defines `texel` for images in buffers, or with
// `texels.wgsl`, which defines it for shared images.

struct Params {
    // Width and height of the image and of the picture.
    source: vec2<u32>,
    picture: vec2<u32>,
    // The number of channels, 1 to 4.
    channels: u32,
    // The type of the elements. 0: uint8, 1: float16, 2: float32.
    kind: u32,
    // The factor that values are multiplied by.
    gain: f32,
    // Bit 0: the values are linear and are encoded as sRGB. Bit 1: one channel is colored by viridis.
    // Bit 2: the channels are planes of elements, one after the other.
    flags: u32,
}

var<immediate> params: Params;
@group(0) @binding(1) var<storage, read_write> pixels: array<u32>;

// The color map viridis, as a polynomial of degree 6.
fn viridis(value: f32) -> vec3<f32> {
    let t = clamp(value, 0.0, 1.0);
    let c0 = vec3(0.2777273272234177, 0.005407344544966578, 0.3340998053353061);
    let c1 = vec3(0.1050930431085774, 1.404613529898575, 1.384590162594685);
    let c2 = vec3(-0.3308618287255563, 0.214847559468213, 0.09509516302823659);
    let c3 = vec3(-4.634230498983486, -5.799100973351585, -19.33244095627987);
    let c4 = vec3(6.228269936347081, 14.17993336680509, 56.69055260068105);
    let c5 = vec3(4.776384997670288, -13.74514537774601, -65.35303263337234);
    let c6 = vec3(-5.435455855934631, 4.645852612178535, 26.3124352495832);
    return c0 + t * (c1 + t * (c2 + t * (c3 + t * (c4 + t * (c5 + t * c6)))));
}

fn encoded(linear: vec3<f32>) -> vec3<f32> {
    let low = linear * 12.92;
    let high = 1.055 * pow(max(linear, vec3(0.0031308)), vec3(1.0 / 2.4)) - 0.055;
    return select(high, low, linear <= vec3(0.0031308));
}

fn has_nan(value: vec4<f32>) -> bool {
    // Checks the bits, because drivers may assume that no number is NaN.
    return any((bitcast<vec4<u32>>(value) & vec4(0x7fffffffu)) > vec4(0x7f800000u));
}

// Clamps to the range from -1e38 to 1e38, also infinity, so that no difference of two values and no product with 0 is NaN.
fn limited(value: vec4<f32>) -> vec4<f32> {
    let bits = bitcast<vec4<u32>>(value);
    // Compares the bits, which have the same order as the numbers.
    return bitcast<vec4<f32>>((bits & vec4(0x80000000u)) | min(bits & vec4(0x7fffffffu), vec4(0x7e967699u)));
}

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (any(id.xy >= params.picture)) {
        return;
    }
    var color: vec4<f32>;
    var broken: bool;
    if (all(params.source == params.picture)) {
        let only = texel(id.x, id.y);
        color = limited(only);
        broken = has_nan(only);
    } else {
        let last = vec2<f32>(params.source - 1u);
        let place = (vec2<f32>(id.xy) + 0.5) * vec2<f32>(params.source) / vec2<f32>(params.picture) - 0.5;
        let inside = clamp(place, vec2(0.0), last);
        let low = vec2<u32>(floor(inside));
        let high = min(low + 1u, params.source - 1u);
        let part = fract(inside);
        let a = texel(low.x, low.y);
        let b = texel(high.x, low.y);
        let c = texel(low.x, high.y);
        let d = texel(high.x, high.y);
        let upper = mix(limited(a), limited(b), part.x);
        let lower = mix(limited(c), limited(d), part.x);
        color = mix(upper, lower, part.y);
        // NaN in any of the texels that contribute to the pixel.
        let right = part.x > 0.0;
        broken = has_nan(a) || (right && has_nan(b)) || (part.y > 0.0 && (has_nan(c) || (right && has_nan(d))));
    }
    var shown = color.rgb * params.gain;
    if (params.channels == 1u && (params.flags & 2u) != 0u) {
        shown = viridis(shown.x);
    } else if ((params.flags & 1u) != 0u) {
        shown = encoded(clamp(shown, vec3(0.0), vec3(1.0)));
    }
    var result = vec4(shown, color.a);
    // NaN is shown in magenta.
    if (broken) {
        result = vec4(1.0, 0.0, 1.0, 1.0);
    }
    let bytes = vec4<u32>(clamp(result, vec4(0.0), vec4(1.0)) * 255.0 + 0.5);
    pixels[id.y * params.picture.x + id.x] = bytes.x | (bytes.y << 8u) | (bytes.z << 16u) | (bytes.w << 24u);
}
