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

// Adds what `in` holds to `out`.
extern "C" __global__ void add(unsigned int *out, const unsigned int *in, unsigned int len) {
    unsigned int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < len) {
        out[i] += in[i];
    }
}

// Writes where nothing is: the context is lost.
extern "C" __global__ void fault(unsigned int *out) {
    out[(1ull << 40) + threadIdx.x] = 1;
}
