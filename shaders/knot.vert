// A knotted tube of triangle strips, each of which goes once around the tube, without a vertex buffer.
#version 450

#include "knot.glsl"

layout(location = 0) out vec2 turns;

void main() {
    uint column = uint(gl_InstanceIndex) + (uint(gl_VertexIndex) & 1u);
    turns = vec2(float(column) / float(view.mesh.x), float(uint(gl_VertexIndex) >> 1) / float(view.mesh.y));
    gl_Position = view.transform * vec4(tube(turns).at, 1.0);
}
