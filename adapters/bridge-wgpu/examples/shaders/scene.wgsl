// Draws rotating solids by sphere tracing.

struct View {
    size: vec2f,
    time: f32,
}

@group(0) @binding(0) var<uniform> view: View;

@vertex
fn vertex(@builtin(vertex_index) index: u32) -> @builtin(position) vec4f {
    return vec4f(f32(index & 1u) * 4.0 - 1.0, f32(index >> 1u) * 4.0 - 1.0, 0.0, 1.0);
}

fn turned(p: vec2f, angle: f32) -> vec2f {
    return vec2f(p.x * cos(angle) - p.y * sin(angle), p.x * sin(angle) + p.y * cos(angle));
}

fn torus(p: vec3f) -> f32 {
    return length(vec2f(length(p.xz) - 1.0, p.y)) - 0.32;
}

fn cube(p: vec3f) -> f32 {
    let q = abs(p) - 0.42;
    return length(max(q, vec3f(0.0))) + min(max(q.x, max(q.y, q.z)), 0.0) - 0.06;
}

// Returns the distance to the nearest solid, and the index of that solid.
fn distance_to(at: vec3f) -> vec2f {
    var p = at;
    let xy = turned(p.xy, view.time * 0.7);
    let yz = turned(vec2f(xy.y, p.z), view.time * 0.9 + 1.0);
    let ring = torus(vec3f(xy.x, yz));
    let xz = turned(p.xz, view.time * -1.1);
    let box_yz = turned(vec2f(p.y, xz.y), view.time * 0.6);
    let box = cube(vec3f(xz.x, box_yz));
    let ground = p.y + 1.5;
    var nearest = vec2f(ring, 0.0);
    if (box < nearest.x) { nearest = vec2f(box, 1.0); }
    if (ground < nearest.x) { nearest = vec2f(ground, 2.0); }
    return nearest;
}

fn normal(p: vec3f) -> vec3f {
    let e = vec2f(0.001, -0.001);
    return normalize(
        e.xyy * distance_to(p + e.xyy).x + e.yyx * distance_to(p + e.yyx).x
            + e.yxy * distance_to(p + e.yxy).x + e.xxx * distance_to(p + e.xxx).x
    );
}

@fragment
fn fragment(@builtin(position) position: vec4f) -> @location(0) vec4f {
    let ray = normalize(vec3f((position.xy * 2.0 - view.size) / view.size.y * vec2f(1.0, -1.0), -1.8));
    var p = vec3f(0.0, 0.4, 4.2);
    var hit = vec2f(1.0, 3.0);
    for (var step = 0; step < 64; step++) {
        hit = distance_to(p);
        if (hit.x < 0.002 || p.z < -12.0) { break; }
        p += ray * hit.x;
    }
    if (hit.x > 0.05) {
        return vec4f(mix(vec3f(0.55, 0.7, 0.9), vec3f(0.15, 0.25, 0.5), clamp(ray.y * 2.0, 0.0, 1.0)), 1.0);
    }
    var color = vec3f(0.9, 0.45, 0.2);
    if (hit.y == 1.0) { color = vec3f(0.25, 0.65, 0.85); }
    if (hit.y == 2.0) {
        let tile = floor(p.xz);
        color = mix(vec3f(0.3), vec3f(0.75), abs(tile.x + tile.y) % 2.0);
    }
    let light = max(dot(normal(p), normalize(vec3f(0.5, 0.8, 0.6))), 0.0);
    return vec4f(color * (0.2 + 0.8 * light), 1.0);
}
