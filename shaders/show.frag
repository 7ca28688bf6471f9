// Linear light of 0..=1, texel by pixel, becomes a picture. Twin of `shown` in examples/src/postprocess/check.rs.
#version 450

#include "light.glsl"

layout(set = 0, binding = 0) uniform texture2D picture;

layout(location = 0) out vec4 target;

void main() {
    ivec2 at = ivec2(gl_FragCoord.xy);
    target = shown(texelFetch(picture, at, 0).rgb, at);
}
