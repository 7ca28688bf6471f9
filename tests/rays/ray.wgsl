enable wgpu_ray_query;

@group(0) @binding(0) var scene: acceleration_structure;
@group(0) @binding(1) var<storage, read_write> seen: array<f32, 2>;

// One ray along z: whether it hits a triangle, and how far away.
@compute @workgroup_size(1)
fn main() {
    var query: ray_query;
    rayQueryInitialize(&query, scene, RayDesc(0u, 0xffu, 0.0, 1000.0, vec3<f32>(0.0), vec3<f32>(0.0, 0.0, 1.0)));
    while (rayQueryProceed(&query)) {}
    let hit = rayQueryGetCommittedIntersection(&query);
    seen[0] = select(0.0, 1.0, hit.kind == RAY_QUERY_INTERSECTION_TRIANGLE);
    seen[1] = select(0.0, hit.t, hit.kind == RAY_QUERY_INTERSECTION_TRIANGLE);
}
