// Kernels of the benchmarks.

// Writes one word: a kernel for a frame with almost no work for the GPU.
extern "C" __global__ void touch(unsigned int *out, unsigned int value) {
    if (blockIdx.x == 0 && threadIdx.x == 0) {
        out[0] = value;
    }
}

// Spins for about `nanoseconds`, then writes `value` to a word that the host polls.
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

// Computes y = a x + y over `len` vectors, with any number of threads.
extern "C" __global__ void saxpy(float4 *y, const float4 *x, float a, unsigned long long len) {
    unsigned long long stride = (unsigned long long)gridDim.x * blockDim.x;
    for (unsigned long long i = (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x; i < len; i += stride) {
        float4 p = x[i], q = y[i];
        y[i] = make_float4(a * p.x + q.x, a * p.y + q.y, a * p.z + q.z, a * p.w + q.w);
    }
}

// Mixes a number so that the results of neighboring numbers are uncorrelated (the finalizer of splitmix64).
__device__ unsigned long long mix(unsigned long long x) {
    x += 0x9e3779b97f4a7c15ull;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

// Writes random words, so that compressed memory has no advantage. As floats, all of them are below 2 in magnitude, because
// the top bit of the exponent is clear, so that repeated sums stay finite.
extern "C" __global__ void scramble(unsigned int *out, unsigned long long words, unsigned long long seed) {
    unsigned long long stride = (unsigned long long)gridDim.x * blockDim.x;
    for (unsigned long long i = (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x; i < words; i += stride) {
        out[i] = (unsigned int)mix(seed + i) & 0xbfffffffu;
    }
}

// Reads all of `count` buffers of 2^shift vectors each, one after the other. So that the compiler cannot remove the reads, the
// result is written under a condition that is never met, because `scramble` clears the bit that it depends on.
extern "C" __global__ void read_all(const uint4 *const *buffers, unsigned int count, unsigned int shift, unsigned int *out) {
    unsigned long long stride = (unsigned long long)gridDim.x * blockDim.x;
    unsigned long long len = (unsigned long long)count << shift, mask = (1ull << shift) - 1;
    unsigned int sum = 0;
#pragma unroll 4
    for (unsigned long long i = (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x; i < len; i += stride) {
        uint4 v = buffers[i >> shift][i & mask];
        sum ^= v.x ^ v.y ^ v.z ^ v.w;
    }
    if (sum == 0x40000000u) {
        out[0] = sum;
    }
}

// Each group of eight threads reads `reads` lines of 128 bytes, each at a random place in a random buffer of 2^shift vectors.
extern "C" __global__ void read_scattered(const uint4 *const *buffers, unsigned int count, unsigned int shift,
                                          unsigned int reads, unsigned int *out) {
    unsigned int thread = blockIdx.x * blockDim.x + threadIdx.x, lane = thread & 7;
    unsigned long long first = (unsigned long long)(thread >> 3) * reads, lines = 1ull << (shift - 3);
    unsigned int sum = 0;
#pragma unroll 8
    for (unsigned int i = 0; i < reads; i++) {
        unsigned long long random = mix(first + i);
        unsigned int buffer = __umulhi((unsigned int)(random >> 32), count);
        uint4 v = buffers[buffer][(random & (lines - 1)) * 8 + lane];
        sum ^= v.x ^ v.y ^ v.z ^ v.w;
    }
    if (sum == 0x40000000u) {
        out[0] = sum;
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

// Writes the same texels to a buffer.
extern "C" __global__ void paint_buffer(ushort4 *out, unsigned int texels, unsigned short value) {
    unsigned int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < texels) {
        out[i] = make_ushort4(value, value, value, value);
    }
}

// Filters an image of four half floats: reads every texel and writes it with red and blue swapped.
extern "C" __global__ void exchange_channels(cudaSurfaceObject_t to, cudaSurfaceObject_t from, unsigned int width,
                                             unsigned int height) {
    unsigned int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x < width && y < height) {
        ushort4 texel = surf2Dread<ushort4>(from, (int)(x * sizeof(ushort4)), (int)y);
        surf2Dwrite(make_ushort4(texel.z, texel.y, texel.x, texel.w), to, (int)(x * sizeof(ushort4)), (int)y);
    }
}
