// Kernels of the examples in adapters/bridge-wgpu/examples and adapters/bevy-vk-cuda/examples. Their twins in Rust are in
// those folders.
#include "maths.cuh"

// A spiral that turns faster inside. Writes position, distance from the middle and brightness.
extern "C" __global__ void swarm(float4 *points, u32 count, float time) {
    u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) {
        float distance = sqrtf(((float)i + 0.5f) / (float)count);
        float random = (float)(i * 2654435769u >> 8) / 8388608.0f - 1.0f;
        float arm = (float)(i % 3u) / 3.0f + random * random * random * (0.6f - 0.4f * distance);
        float turns = arm + time / (6.0f + 30.0f * distance) - distance * 0.9f;
        float wave = 1.0f + 0.06f * sin_turns(3.0f * turns + time);
        float radius = (distance * distance * 0.6f + distance * 0.4f) * wave * 0.9f;
        float light = 0.35f + 0.65f * (float)(i * 747796405u >> 24) / 255.0f;
        points[i] = make_float4(radius * cos_turns(turns), radius * sin_turns(turns), distance, light);
    }
}

__device__ static int light_at(unsigned long long scene, int x, int y, int width, int height) {
    x = min(max(x, 0), width - 1);
    y = min(max(y, 0), height - 1);
    uchar4 c = tex2D<uchar4>(scene, (float)x + 0.5f, (float)y + 0.5f);
    return 2 * c.x + 5 * c.y + c.z;
}

// Draws the edges of a scene over the dimmed scene: reads a texture and writes a surface. Surface functions take x in bytes.
extern "C" __global__ void ink(unsigned long long scene, unsigned long long picture, u32 width, u32 height) {
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    int w = (int)width, h = (int)height;
    if (x >= w || y >= h) return;
    int around[9];
    for (int k = 0; k < 9; ++k) {
        around[k] = light_at(scene, x + k % 3 - 1, y + k / 3 - 1, w, h);
    }
    int right = around[2] + 2 * around[5] + around[8] - around[0] - 2 * around[3] - around[6];
    int down = around[6] + 2 * around[7] + around[8] - around[0] - 2 * around[1] - around[2];
    int edge = min((abs(right) + abs(down)) / 16, 255);
    uchar4 c = tex2D<uchar4>(scene, (float)x + 0.5f, (float)y + 0.5f);
    uchar4 out = make_uchar4(min(c.x / 3 + edge, 255), min(c.y / 3 + edge, 255), min(c.z / 2 + edge / 2, 255), 255);
    surf2Dwrite(out, picture, x * (int)sizeof(out), y);
}

// Squares of `square` by `square` texels.
__device__ static uchar4 tile(u32 x, u32 y, u32 square, u32 frame) {
    x /= square;
    y /= square;
    return make_uchar4((unsigned char)((x ^ y) + frame), (unsigned char)(2 * x + 3 * frame), (unsigned char)(2 * y - frame), 255);
}

// Paints a texture of `side` by `side` texels.
extern "C" __global__ void tiles(cudaSurfaceObject_t picture, u32 side, u32 square, u32 frame) {
    u32 x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= side || y >= side) return;
    surf2Dwrite(tile(x, y, square, frame), picture, (int)(x * sizeof(uchar4)), (int)y);
}

// Paints the same texture in linear memory, row by row.
extern "C" __global__ void tiles_in_rows(uchar4 *rows, u32 side, u32 square, u32 frame) {
    u32 x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= side || y >= side) return;
    rows[y * side + x] = tile(x, y, square, frame);
}
