enable wgpu_ray_tracing_pipeline;

struct Seen {
    hit: f32,
    distance: f32,
}

@group(0) @binding(0) var scene: acceleration_structure;
@group(0) @binding(1) var<storage, read_write> seen: array<f32, 2>;

var<ray_payload> ray: Seen;
var<incoming_ray_payload> incoming: Seen;

// Traces one ray along z, and writes whether it hits a triangle and at what distance.
@ray_generation
fn generate() {
    ray = Seen(-1.0, -1.0);
    traceRay(scene, RayDesc(0u, 0xffu, 0.0, 1000.0, vec3<f32>(0.0), vec3<f32>(0.0, 0.0, 1.0)), &ray);
    seen[0] = ray.hit;
    seen[1] = ray.distance;
}

@closest_hit
@incoming_payload(incoming)
fn hit(@builtin(ray_t_current_max) distance: f32) {
    incoming = Seen(1.0, distance);
}

@miss
@incoming_payload(incoming)
fn miss() {
    incoming = Seen(0.0, 0.0);
}
