// A shared image: the texels of `picture.wgsl`.

@group(0) @binding(3) var texels: texture_2d<f32>;

fn texel(x: u32, y: u32) -> vec4<f32> {
    // Channels that the format does not have are 0, alpha is 1.
    let found = textureLoad(texels, vec2(x, y), 0);
    return select(found, vec4(found.xxx, 1.0), params.channels == 1u);
}
