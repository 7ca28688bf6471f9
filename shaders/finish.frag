// Converts light and its glow to sRGB values. Twin of `finish` in examples/particles/finish.rs.
#version 450

#include "light.glsl"

layout(set = 0, binding = 0) uniform texture2D light;
layout(set = 0, binding = 1) uniform texture2D near;
layout(set = 0, binding = 2) uniform texture2D far;

layout(push_constant) uniform Finish {
    vec2 glow;
    float stretch;
    float white;
} finish;

layout(location = 0) out vec4 target;

vec3 fetch_near(ivec2 at) {
    return texelFetch(near, clamp(at, ivec2(0), textureSize(near, 0) - 1), 0).rgb;
}

vec3 fetch_far(ivec2 at) {
    return texelFetch(far, clamp(at, ivec2(0), textureSize(far, 0) - 1), 0).rgb;
}

vec3 sample_near(vec2 at) {
    ivec2 corner = ivec2(floor(at));
    vec2 part = at - floor(at);
    vec3 above = mix(fetch_near(corner), fetch_near(corner + ivec2(1, 0)), part.x);
    vec3 below = mix(fetch_near(corner + ivec2(0, 1)), fetch_near(corner + ivec2(1, 1)), part.x);
    return mix(above, below, part.y);
}

vec3 sample_far(vec2 at) {
    ivec2 corner = ivec2(floor(at));
    vec2 part = at - floor(at);
    vec3 above = mix(fetch_far(corner), fetch_far(corner + ivec2(1, 0)), part.x);
    vec3 below = mix(fetch_far(corner + ivec2(0, 1)), fetch_far(corner + ivec2(1, 1)), part.x);
    return mix(above, below, part.y);
}

vec3 stretched(vec3 sum) {
    float brightest = max(max(max(sum.r, sum.g), sum.b), 1e-6);
    float value = log2(1.0 + finish.stretch * brightest) / log2(1.0 + finish.stretch * finish.white);
    float bleach = min(value * value * value, 1.0) * 0.8;
    return value * (sum / brightest * (1.0 - bleach) + bleach);
}

void main() {
    ivec2 at = ivec2(gl_FragCoord.xy);
    vec2 place = vec2(at) + 0.5;
    vec3 sum = texelFetch(light, at, 0).rgb
        + finish.glow.x * sample_near(place / 4.0 - 0.5)
        + finish.glow.y * sample_far(place / 16.0 - 0.5);
    target = shown(stretched(sum), at);
}
