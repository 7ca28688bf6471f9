// Orbs of triangle strips from pole to pole, without a vertex buffer.
#version 450

#include "knot.glsl"

layout(location = 0) out vec3 outward;
layout(location = 1) flat out uint orb;

void main() {
    orb = uint(gl_InstanceIndex) / view.mesh.x;
    uint column = uint(gl_InstanceIndex) % view.mesh.x + (uint(gl_VertexIndex) & 1u);
    float rise = 0.5 * (float(uint(gl_VertexIndex) >> 1) / float(view.mesh.y)) - 0.25;
    outward = toward(rise, float(column) / float(view.mesh.x));
    vec4 place = orb_place(orb);
    gl_Position = view.transform * vec4(place.xyz + outward * place.w, 1.0);
}
