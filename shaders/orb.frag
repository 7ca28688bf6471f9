// Orbs of light and of metal. Twin of `shade_orb` in examples/postprocess/knot.rs.
#version 450

#include "knot.glsl"

layout(location = 0) in vec3 outward;
layout(location = 1) flat in uint orb;
layout(location = 0) out vec4 target;

void main() {
    vec3 normal = normalize(outward);
    vec4 place = orb_place(orb);
    vec3 to_eye = normalize(view.eye - (place.xyz + normal * place.w));
    vec3 color = wheel(chance(orb, 4u));
    if (chance(orb, 5u) < 0.45) {
        target = vec4(color * (9.0 * (0.55 + 0.45 * max(dot(normal, to_eye), 0.0))), 1.0);
    } else {
        target = vec4(metal(normal, to_eye, mix(vec3(0.45, 0.45, 0.48), color, 0.3)), 1.0);
    }
}
