// A round spark that fades towards its edge, blended with factors ONE and ONE.
#version 450

layout(location = 0) flat in vec3 light;
layout(location = 0) out vec4 target;

void main() {
    vec2 from_middle = gl_PointCoord * 2.0 - 1.0;
    float fall = max(1.0 - dot(from_middle, from_middle), 0.0);
    target = vec4(light * (fall * fall), 0.0);
}
