// Kernels of the tests: patterns that cannot be mistaken for stale data, and delays that make order visible.

// Spins for about `nanoseconds`, then writes base + i.
extern "C" __global__ void fill_after(unsigned int *out, unsigned int len, unsigned int base,
                                      unsigned long long nanoseconds) {
    unsigned long long start, now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(start));
    do {
        asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
    } while (now - start < nanoseconds);
    unsigned int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < len) {
        out[i] = base + i;
    }
}

// Adds the values of `in` to `out`.
extern "C" __global__ void add(unsigned int *out, const unsigned int *in, unsigned int len) {
    unsigned int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < len) {
        out[i] += in[i];
    }
}

// Writes to an invalid address, which ends the CUDA context.
extern "C" __global__ void fault(unsigned int *out) {
    out[(1ull << 40) + threadIdx.x] = 1;
}

// Surface functions take x in bytes. Texels differ only by their size: their content is not interpreted.
#define TEXELS(name, type)                                                                                          \
    extern "C" __global__ void store_##name(unsigned long long surface, const type *from, unsigned int width,       \
                                            unsigned int height) {                                                  \
        unsigned int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;          \
        if (x < width && y < height) {                                                                              \
            surf2Dwrite(from[y * width + x], surface, x * sizeof(type), y);                                         \
        }                                                                                                           \
    }                                                                                                               \
    extern "C" __global__ void load_##name(unsigned long long surface, type *to, unsigned int width,                \
                                           unsigned int height) {                                                   \
        unsigned int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;          \
        if (x < width && y < height) {                                                                              \
            to[y * width + x] = surf2Dread<type>(surface, x * sizeof(type), y);                                     \
        }                                                                                                           \
    }

TEXELS(1, unsigned char)
TEXELS(2, unsigned short)
TEXELS(4, unsigned int)
TEXELS(8, uint2)
TEXELS(16, uint4)

// Samples a 2D texture of floats at the given normalized coordinates.
extern "C" __global__ void sample(unsigned long long texture, const float2 *at, float4 *to, unsigned int len) {
    unsigned int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < len) {
        to[i] = tex2D<float4>(texture, at[i].x, at[i].y);
    }
}
