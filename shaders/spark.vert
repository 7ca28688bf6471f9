// A glowing point: its light falls off with the square of the distance and is spread over its disc.
// Twin of `View::project` and `spark_light` in examples/particles.
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

layout(location = 0) flat out vec3 light;

void main() {
    gl_Position = view.transform * vec4(position, 1.0);
    float w = gl_Position.w;
    float point = clamp(view.point_scale / w, view.point_min, view.point_max);
    gl_PointSize = point;
    float brightness = color.a * color.a * color.a * color.a;
    light = color.rgb * (view.gain * brightness / (w * w * point * point));
}
