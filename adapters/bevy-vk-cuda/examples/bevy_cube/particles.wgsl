#import bevy_pbr::mesh_functions::{get_world_from_local, mesh_position_local_to_world}
#import bevy_pbr::mesh_view_bindings::view

// Position in the plane, distance from the center, and brightness. Written by CUDA or by the CPU.
@group(#{MATERIAL_BIND_GROUP}) @binding(0) var<storage, read> particles: array<vec4<f32>>;

struct Vertex {
    @builtin(instance_index) instance: u32,
    // The index of the particle, and the corner of its triangle.
    @location(0) position: vec3<f32>,
}

struct Corner {
    @builtin(position) position: vec4<f32>,
    @location(0) color: vec3<f32>,
    @location(1) at: vec2<f32>,
}

@vertex
fn vertex(vertex: Vertex) -> Corner {
    let particle = particles[u32(vertex.position.x)];
    let world = mesh_position_local_to_world(get_world_from_local(vertex.instance), vec4(particle.xy, 0.0, 1.0));
    var out: Corner;
    out.position = view.clip_from_world * vec4(world.xyz, 1.0);
    // At least 1.5 texels of the picture.
    let size = 3.0 / view.viewport.zw * out.position.w;
    out.position += vec4(vertex.position.yz * size, 0.0, 0.0);
    // Blending adds the colors, so each particle is darker if there are many.
    let share = min(1.0, 25000.0 / f32(arrayLength(&particles)));
    out.color = mix(vec3(1.0, 0.55, 0.2), vec3(0.15, 0.4, 1.0), particle.z) * particle.w * share;
    out.at = vertex.position.yz;
    return out;
}

@fragment
fn fragment(in: Corner) -> @location(0) vec4<f32> {
    let light = max(1.0 - dot(in.at, in.at), 0.0);
    return vec4(in.color * light, 0.0);
}
