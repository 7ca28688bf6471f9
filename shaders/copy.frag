// Copies the picture unchanged to a target of another format.
#version 450

layout(set = 0, binding = 0) uniform texture2D picture;

layout(location = 0) out vec4 target;

void main() {
    target = vec4(texelFetch(picture, ivec2(gl_FragCoord.xy), 0).rgb, 1.0);
}
