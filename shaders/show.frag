// Converts linear light in 0..=1 to a picture, one texel per pixel. Twin of `shown` in examples/postprocess/check.rs.
#version 450

#include "light.glsl"

layout(set = 0, binding = 0) uniform texture2D picture;

layout(location = 0) out vec4 target;

void main() {
    ivec2 at = ivec2(gl_FragCoord.xy);
    target = shown(texelFetch(picture, at, 0).rgb, at);
}
