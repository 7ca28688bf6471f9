// A point of the engine example. The input is its position, a step and a shade.
#version 450

layout(location = 0) in vec4 point;

layout(location = 0) out float shade;

void main() {
    gl_Position = vec4(point.xy, 0.0, 1.0);
    gl_PointSize = 1.0;
    shade = point.w;
}
