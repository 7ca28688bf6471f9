// One color, blended with factors SRC_ALPHA and ONE_MINUS_SRC_ALPHA in the color space of the picture.
#version 450

layout(location = 0) flat in vec4 tint;
layout(location = 0) out vec4 target;

void main() {
    target = tint;
}
