// A ring of triangle strips, each of which goes once around the tube of the ring, without a vertex buffer. The shared image
// raises the surface.
#version 450

#include "ring.glsl"

layout(location = 0) out vec2 turns;

void main() {
    uint column = uint(gl_InstanceIndex) + (uint(gl_VertexIndex) & 1u);
    uint row = uint(gl_VertexIndex) >> 1;
    turns = vec2(float(column) / float(view.along), float(row) / float(view.around));
    float height = view.relief * textureLod(sampler2D(field, linear), turns, 0.0).r;
    gl_Position = view.transform * vec4(frame(turns, height).place, 1.0);
}
