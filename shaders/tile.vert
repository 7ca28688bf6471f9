// A square that shows one pixel of a picture.
#version 450

layout(location = 0) in vec3 position;
layout(location = 1) in vec4 color;

layout(push_constant) uniform View {
    mat4 transform;
    float point_scale;
    float point_min;
    float point_max;
    float gain;
} view;

layout(location = 0) flat out vec4 tint;

void main() {
    gl_Position = view.transform * vec4(position, 1.0);
    gl_PointSize = clamp(view.point_scale / gl_Position.w, view.point_min, view.point_max);
    tint = color;
}
