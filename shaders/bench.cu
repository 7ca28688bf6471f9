// Kernels of the benchmark.

// One word: a frame has its kernel, and the GPU next to nothing to do.
extern "C" __global__ void touch(unsigned int *out, unsigned int value) {
    if (blockIdx.x == 0 && threadIdx.x == 0) {
        out[0] = value;
    }
}

// Spins for about `nanoseconds`, then writes `value` where the host looks.
extern "C" __global__ void spin_then_tell(volatile unsigned int *word, unsigned int value,
                                          unsigned long long nanoseconds) {
    unsigned long long start, now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(start));
    do {
        asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
    } while (now - start < nanoseconds);
    *word = value;
    __threadfence_system();
}

// y = a x + y over `len` vectors, as many threads as suits.
extern "C" __global__ void saxpy(float4 *y, const float4 *x, float a, unsigned long long len) {
    unsigned long long stride = (unsigned long long)gridDim.x * blockDim.x;
    for (unsigned long long i = (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x; i < len; i += stride) {
        float4 p = x[i], q = y[i];
        y[i] = make_float4(a * p.x + q.x, a * p.y + q.y, a * p.z + q.z, a * p.w + q.w);
    }
}

// Writes every texel of an image of `texels` of four half floats, in rows of `width`.
extern "C" __global__ void paint(cudaSurfaceObject_t image, unsigned int width, unsigned int texels, unsigned short value) {
    unsigned int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < texels) {
        // Surfaces are addressed in bytes along a row.
        surf2Dwrite(make_ushort4(value, value, value, value), image, (int)(i % width * sizeof(ushort4)), (int)(i / width));
    }
}

// The same into a buffer.
extern "C" __global__ void paint_buffer(ushort4 *out, unsigned int texels, unsigned short value) {
    unsigned int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < texels) {
        out[i] = make_ushort4(value, value, value, value);
    }
}
