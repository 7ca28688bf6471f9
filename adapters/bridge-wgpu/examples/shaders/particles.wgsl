// Draws a small square for each particle. A particle has a position, a distance from the center and a brightness.

struct Varyings {
    @builtin(position) position: vec4f,
    @location(0) color: vec3f,
}


@group(0) @binding(0) var<uniform> size: vec2f;

@vertex
fn vertex(@builtin(vertex_index) index: u32, @location(0) point: vec4f) -> Varyings {
    let corner = vec2f(f32(index & 1u), f32(index >> 1u)) * 2.0 - 1.0;
    let middle = point.xy * vec2f(size.y / size.x, 1.0);
    let inner = vec3f(1.0, 0.75, 0.45);
    let outer = vec3f(0.25, 0.45, 1.0);
    return Varyings(
        vec4f(middle + corner * 1.5 / size, 0.0, 1.0),
        mix(inner, outer, point.z) * point.w * 0.35,
    );
}

@fragment
fn fragment(in: Varyings) -> @location(0) vec4f {
    return vec4f(in.color, 1.0);
}
