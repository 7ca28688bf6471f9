// The kernels of the engine example. Twins of the functions in examples/engine/src, with the same operations in the same
// order, so that both give the same bits.

#include "maths.cuh"

// Advances bodies (position, velocity) by `steps` steps in a box and writes a vertex for each: its position, the number of
// the last step, and its index divided by the number of bodies.
extern "C" __global__ void drift(float4 *vertices, float4 *bodies, u32 len, u32 steps, u32 last, float dt) {
    u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= len) return;
    float4 body = bodies[i];
    for (u32 step = 0; step < steps; ++step) {
        body.x = body.x + body.z * dt;
        body.y = body.y + body.w * dt;
        if (body.x > 1.0f) { body.x = 2.0f - body.x; body.z = -body.z; }
        if (body.x < -1.0f) { body.x = -2.0f - body.x; body.z = -body.z; }
        if (body.y > 1.0f) { body.y = 2.0f - body.y; body.w = -body.w; }
        if (body.y < -1.0f) { body.y = -2.0f - body.y; body.w = -body.w; }
    }
    bodies[i] = body;
    vertices[i] = make_float4(body.x, body.y, (float)last, (float)i / (float)len);
}

// Paints a texture.
extern "C" __global__ void paint(cudaSurfaceObject_t image, u32 width, u32 height, u32 frame) {
    u32 x = blockIdx.x * blockDim.x + threadIdx.x;
    u32 y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= width || y >= height) return;
    uchar4 texel;
    texel.x = (unsigned char)((x ^ y) + frame);
    texel.y = (unsigned char)(2 * x + 3 * frame);
    texel.z = (unsigned char)(2 * y - frame);
    texel.w = 255;
    // Surfaces are addressed in bytes along a row.
    surf2Dwrite(texel, image, (int)(x * sizeof(uchar4)), (int)y);
}

// Returns a texel, with coordinates clamped to the edges. Coordinates are normalized, because textures in command buffers
// support no others.
__device__ static uchar4 texel(cudaTextureObject_t scene, int x, int y, int width, int height) {
    x = x < 0 ? 0 : x >= width ? width - 1 : x;
    y = y < 0 ? 0 : y >= height ? height - 1 : y;
    return tex2D<uchar4>(scene, ((float)x + 0.5f) / (float)width, ((float)y + 0.5f) / (float)height);
}

// Adds the mean of 5 x 5 texels to half of the scene, so that bright areas glow.
extern "C" __global__ void glow(cudaSurfaceObject_t picture, cudaTextureObject_t scene, u32 width, u32 height) {
    int x = blockIdx.x * blockDim.x + threadIdx.x;
    int y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= (int)width || y >= (int)height) return;
    u32 r = 0, g = 0, b = 0;
    for (int dy = -2; dy <= 2; ++dy) {
        for (int dx = -2; dx <= 2; ++dx) {
            uchar4 near = texel(scene, x + dx, y + dy, (int)width, (int)height);
            r += near.x;
            g += near.y;
            b += near.z;
        }
    }
    uchar4 here = texel(scene, x, y, (int)width, (int)height);
    r = min(here.x / 2 + r / 25, 255u);
    g = min(here.y / 2 + g / 25, 255u);
    b = min(here.z / 2 + b / 25, 255u);
    uchar4 glowing = make_uchar4((unsigned char)r, (unsigned char)g, (unsigned char)b, 255);
    surf2Dwrite(glowing, picture, (int)(x * sizeof(uchar4)), y);
}
