// Lighting of the ring. Twin of `shade` in examples/texture/ring.rs.
#version 450

#include "ring.glsl"

layout(location = 0) in vec2 turns;
layout(location = 0) out vec4 target;

const float TAU = 6.2831855;

// Returns the light from the surroundings of the ring: a dim room with a large soft light above.
vec3 room(vec3 at) {
    vec3 dim = mix(vec3(0.030, 0.034, 0.045), vec3(0.20, 0.30, 0.44), smoothstep(-0.5, 1.0, at.y));
    return dim + vec3(2.4, 2.1, 1.8) * smoothstep(0.72, 0.97, dot(at, view.light));
}

void main() {
    vec4 texel = textureLod(sampler2D(field, linear), turns, 0.0);
    Frame at = frame(turns, view.relief * texel.x);
    vec2 cells = vec2(textureSize(field, 0));
    vec2 lengths = TAU * vec2(MAJOR + MINOR * cos_turns(turns.y), MINOR);
    vec2 steepness = view.relief * 0.5 * texel.yz * cells / lengths;
    vec3 normal = normalize(at.outward - at.along * steepness.x - at.around * steepness.y);
    vec3 to_eye = normalize(view.eye - at.place);

    float ridge = smoothstep(0.05, 0.30, texel.x);
    float crest = smoothstep(0.22, 0.42, texel.x);
    vec3 valley = mix(vec3(0.010, 0.020, 0.060), vec3(0.015, 0.130, 0.190), 1.0 - smoothstep(0.55, 1.0, texel.w));
    vec3 coral = mix(vec3(0.85, 0.16, 0.075), vec3(1.0, 0.70, 0.36), crest);
    vec3 color = mix(valley, coral, ridge);
    float open = (0.30 + 0.70 * ridge) * (0.40 + 0.60 * smoothstep(-1.1, 0.3, cos_turns(turns.y)));

    float facing = max(dot(normal, view.light), 0.0);
    vec3 sky = mix(vec3(0.05, 0.045, 0.055), vec3(0.24, 0.32, 0.46), normal.y * 0.5 + 0.5);
    vec3 diffuse = color * (vec3(2.3, 2.1, 1.85) * facing * (0.35 + 0.65 * open) + sky * open);
    float toward = dot(normal, to_eye);
    float gloss = 0.045 + 0.955 * fifth(1.0 - clamp(toward, 0.0, 1.0));
    vec3 mirrored = normal * (2.0 * toward) - to_eye;
    float glint = pow(max(dot(normal, normalize(to_eye + view.light)), 0.0), 64.0) * facing;
    vec3 specular = room(mirrored) * (gloss * open) + vec3(1.5 * glint);
    target = vec4(diffuse + specular, 1.0);
}
