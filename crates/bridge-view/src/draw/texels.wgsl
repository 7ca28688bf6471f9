// Texel access for `picture.wgsl` when the image is a shared image.

@group(0) @binding(3) var texels: texture_2d<f32>;

fn texel(x: u32, y: u32) -> vec4<f32> {
    // `textureLoad` returns 0 for channels that the format lacks, and 1 for alpha.
    let found = textureLoad(texels, vec2(x, y), 0);
    return select(found, vec4(found.xxx, 1.0), params.channels == 1u);
}
