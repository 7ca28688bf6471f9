// Draws points, in the layout of the shared memory, into the picture, in three passes: `clear`,
// then the nearest depth of each pixel, then its color.

struct Params {
    // Transforms world space to clip space, with y downwards and depth from 0 to 1.
    camera: mat4x4<f32>,
    count: u32,
    // Floats per point: 3 (x, y, z), 4 (also a value from 0 to 1) or 6 (also red, green and blue
    // from 0 to 1).
    channels: u32,
    picture: vec2<u32>,
    // The side length of a drawn point in pixels.
    size: u32,
    // The color of all points if they have no value or color of their own: four bytes.
    color: u32,
    // If not 0, the positions of all points come first, followed by the values or colors of all points.
    separate: u32,
}

var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> elements: array<f32>;
@group(0) @binding(1) var<storage, read_write> pixels: array<u32>;
@group(0) @binding(2) var<storage, read_write> depths: array<atomic<u32>>;

const FAR: u32 = 0xffffffffu;
const BLACK: u32 = 0xff000000u;
const ROW: u32 = 65535u;
const GROUP: u32 = 256u;

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

fn packed(color: vec3<f32>) -> u32 {
    let bytes = vec3<u32>(clamp(color, vec3(0.0), vec3(1.0)) * 255.0 + 0.5);
    return bytes.x | (bytes.y << 8u) | (bytes.z << 16u) | BLACK;
}

fn index_of(group: vec3<u32>, local: u32) -> u32 {
    return (group.y * ROW + group.x) * GROUP + local;
}

@compute @workgroup_size(256)
fn clear(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = index_of(group, local);
    if (index < params.picture.x * params.picture.y) {
        pixels[index] = BLACK;
        atomicStore(&depths[index], FAR);
    }
}

struct Seen {
    // The upper left pixel of the point.
    corner: vec2<i32>,
    // The bits of the depth, which have the order of the depths; `FAR` if the point is not visible.
    depth: u32,
}

fn seen(index: u32) -> Seen {
    let first = index * select(params.channels, 3u, params.separate != 0u);
    let place = vec4(elements[first], elements[first + 1u], elements[first + 2u], 1.0);
    let clip = params.camera * place;
    let ndc = clip.xyz / clip.w;
    // Each comparison is false for NaN, so a point with NaN is outside.
    let inside = clip.w > 0.0 && all(abs(ndc.xy) <= vec2(1.5)) && ndc.z >= 0.0 && ndc.z <= 1.0;
    if (!inside) {
        return Seen(vec2(0), FAR);
    }
    let middle = (ndc.xy * 0.5 + 0.5) * vec2<f32>(params.picture);
    let corner = vec2<i32>(floor(middle - 0.5 * f32(params.size) + 0.5));
    // The bits of nonnegative floats have the same order as the floats.
    return Seen(corner, bitcast<u32>(ndc.z));
}

@compute @workgroup_size(256)
fn nearest(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = index_of(group, local);
    if (index >= params.count) {
        return;
    }
    let point = seen(index);
    if (point.depth == FAR) {
        return;
    }
    for (var y = 0u; y < params.size; y++) {
        for (var x = 0u; x < params.size; x++) {
            let at = point.corner + vec2<i32>(vec2(x, y));
            if (all(at >= vec2(0)) && all(at < vec2<i32>(params.picture))) {
                atomicMin(&depths[u32(at.y) * params.picture.x + u32(at.x)], point.depth);
            }
        }
    }
}

@compute @workgroup_size(256)
fn color(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = index_of(group, local);
    if (index >= params.count) {
        return;
    }
    let point = seen(index);
    if (point.depth == FAR) {
        return;
    }
    // The index of the value or color of the point.
    let own = select(index * params.channels + 3u, 3u * params.count + index * (params.channels - 3u), params.separate != 0u);
    var shown = params.color;
    if (params.channels == 4u) {
        shown = packed(viridis(elements[own]));
    } else if (params.channels == 6u) {
        shown = packed(vec3(elements[own], elements[own + 1u], elements[own + 2u]));
    }
    for (var y = 0u; y < params.size; y++) {
        for (var x = 0u; x < params.size; x++) {
            let at = point.corner + vec2<i32>(vec2(x, y));
            if (all(at >= vec2(0)) && all(at < vec2<i32>(params.picture))) {
                let pixel = u32(at.y) * params.picture.x + u32(at.x);
                // Of several points at the same depth, any one may be shown.
                if (atomicLoad(&depths[pixel]) == point.depth) {
                    pixels[pixel] = shown;
                }
            }
        }
    }
}
