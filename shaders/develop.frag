// Converts the mean of the light in a pixel, over a background, to a picture. Twin of `develop` in
// examples/texture/ring.rs.
#version 450

#include "light.glsl"

layout(set = 0, binding = 0) uniform texture2D light;

layout(push_constant) uniform Develop {
    vec4 top;
    vec4 bottom;
    int samples;
} develop;

layout(location = 0) out vec4 target;

void main() {
    ivec2 at = ivec2(gl_FragCoord.xy);
    int side = develop.samples;
    vec4 sum = vec4(0.0);
    for (int i = 0; i < side * side; ++i) {
        sum += texelFetch(light, at * side + ivec2(i % side, i / side), 0);
    }
    vec4 mean = sum / float(side * side);
    float height = float(textureSize(light, 0).y / side);
    vec4 behind = mix(develop.top, develop.bottom, (float(at.y) + 0.5) / height);
    vec3 seen = mean.rgb + behind.rgb * (1.0 - mean.a);
    target = shown(vec3(filmic(seen.r), filmic(seen.g), filmic(seen.b)), at);
}
