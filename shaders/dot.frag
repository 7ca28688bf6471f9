#version 450

layout(location = 0) in float shade;

layout(location = 0) out vec4 target;

void main() {
    target = vec4(1.0, 0.35 + 0.6 * shade, 0.2 + 0.8 * shade, 1.0);
}
