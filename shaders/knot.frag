// Dark metal with glowing seams. Twin of `shade_tube` in examples/postprocess/knot.rs.
#version 450

#include "knot.glsl"

layout(location = 0) in vec2 turns;
layout(location = 0) out vec4 target;

float across(float turns) {
    return abs(turns - floor(turns + 0.5));
}

void main() {
    Place place = tube(turns);
    vec3 lit = metal(place.normal, normalize(view.eye - place.at), vec3(0.17, 0.18, 0.23));
    // Seams wind around the tube, and pulses move along them.
    float seam = 1.0 - smoothstep(0.040, 0.075, across(3.0 * turns.y + 12.0 * turns.x));
    float pulse = 1.0 - smoothstep(0.0, 0.34, across(3.0 * turns.x - 4.0 * view.time));
    vec3 glow = wheel(turns.x + 0.5 * sin_turns(turns.x)) * (seam * (0.35 + 11.0 * pulse * pulse));
    target = vec4(lit * (1.0 - seam) + glow, 1.0);
}
