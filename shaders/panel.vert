// A rectangle of the engine example as two triangles: the area from its top left to its bottom right corner in clip space.
#version 450

layout(push_constant) uniform Area {
    vec4 corners;
    vec4 texels;
} area;

layout(location = 0) out vec2 at;

void main() {
    vec2 corner = vec2(gl_VertexIndex == 1 || gl_VertexIndex == 2 || gl_VertexIndex == 4 ? 1.0 : 0.0,
                       gl_VertexIndex == 2 || gl_VertexIndex == 4 || gl_VertexIndex == 5 ? 1.0 : 0.0);
    gl_Position = vec4(mix(area.corners.xy, area.corners.zw, corner), 0.0, 1.0);
    at = corner * area.texels.xy;
}
