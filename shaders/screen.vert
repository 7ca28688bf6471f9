// One triangle that covers the whole target: three vertices without input.
#version 450

void main() {
    float x = gl_VertexIndex == 1 ? 3.0 : -1.0;
    float y = gl_VertexIndex == 2 ? 3.0 : -1.0;
    gl_Position = vec4(x, y, 0.0, 1.0);
}
