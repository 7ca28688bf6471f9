// Kernels of the first programs, examples/03_post_process.rs, 05_cuda_kernel.rs, 06_kernels_in_the_queue.rs and 07_latest.rs.

// Darkens an image towards its left edge: reads a texture and writes a surface. Surface functions take x in bytes.
extern "C" __global__ void fade(unsigned long long texture, unsigned long long surface, unsigned int width,
                                unsigned int height) {
    unsigned int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x < width && y < height) {
        uchar4 color = tex2D<uchar4>(texture, x + 0.5f, y + 0.5f);
        color.x = color.x * x / width;
        color.y = color.y * x / width;
        color.z = color.z * x / width;
        surf2Dwrite(color, surface, x * sizeof(color), y);
    }
}

// Writes the vertices of a parabola.
extern "C" __global__ void parabola(float4 *vertices, unsigned int len, float height) {
    unsigned int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < len) {
        float x = float(i) / float(len);
        vertices[i] = make_float4(x, height * x * (1.0f - x), 0.0f, 1.0f);
    }
}
