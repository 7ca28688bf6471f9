// Shows the scene to the left of a line, and the filtered picture to the right of it.

@group(0) @binding(0) var scene: texture_2d<f32>;
@group(0) @binding(1) var filtered: texture_2d<f32>;

@vertex
fn vertex(@builtin(vertex_index) index: u32) -> @builtin(position) vec4f {
    return vec4f(f32(index & 1u) * 4.0 - 1.0, f32(index >> 1u) * 4.0 - 1.0, 0.0, 1.0);
}

@fragment
fn fragment(@builtin(position) position: vec4f) -> @location(0) vec4f {
    let at = vec2u(position.xy);
    let width = textureDimensions(scene).x;
    if (at.x < width / 2u) {
        return textureLoad(scene, at, 0);
    }
    return textureLoad(filtered, at, 0);
}
