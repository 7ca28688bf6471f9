// Shows one texel per pixel: the area has the size of the texture.
#version 450

layout(set = 0, binding = 0) uniform texture2D panel;

layout(location = 0) in vec2 at;

layout(location = 0) out vec4 target;

void main() {
    target = vec4(texelFetch(panel, ivec2(at), 0).rgb, 1.0);
}
