// Kernels that must not run in a Vulkan queue, and some that may. Tests read the PTX and launch none of the kernels.

struct Mixed {
    char a;
    double b;
    short c;
};

struct alignas(16) Wide {
    float x[5];
};

extern __shared__ float added[];
__shared__ int among_functions[33];

__device__ __noinline__ int exchange(int x) {
    among_functions[x & 31] = x;
    __syncthreads();
    return among_functions[(x + 1) & 31];
}

__device__ __noinline__ void stop_at(int x) {
    if (x == 77) {
        __trap();
    }
}

__device__ __noinline__ int descend(int x) {
    if (x > 3) {
        return descend(x - 1) + 1;
    }
    stop_at(x);
    return 0;
}

struct Shape {
    __device__ virtual int area(int x) { return x; }
};

struct Endless : Shape {
    __device__ int area(int x) override {
        if (x == 5) {
            __trap();
        }
        return x * 2;
    }
};

extern "C" {

__global__ void fine(int *out, Mixed mixed, Wide wide, char c, unsigned long long n, bool b) {
    out[0] = mixed.c + wide.x[4] + c + n + b;
}

__global__ void __launch_bounds__(128, 2) bounded(float *out) {
    out[threadIdx.x] = 1;
}

__global__ void shares(int *out) {
    __shared__ double wide[40];
    __shared__ char narrow[3];
    wide[threadIdx.x] = out[0];
    narrow[threadIdx.x & 1] = 1;
    __syncthreads();
    out[0] = wide[1] + narrow[1] + added[threadIdx.x];
}

__global__ void shares_in_a_call(int *out) {
    out[0] = exchange(out[1]);
}

// Stores the pointer to the virtual function table, but calls no function of it.
__global__ void constructs(Endless *out) {
    new (out) Endless();
}

__global__ void prints(int x) {
    printf("%d\n", x);
}

__global__ void allocates(int **out) {
    *out = (int *)malloc(4);
}

__global__ void frees(int **out) {
    free(*out);
}

__global__ void asserts(int x) {
    assert(x == 3);
}

__global__ void traps(int x) {
    if (x) {
        __trap();
    }
}

__global__ void breaks(int x) {
    if (x) {
        __brkpt();
    }
}

__global__ void traps_in_a_call(int *out) {
    out[0] = descend(out[1]);
}

__global__ void traps_in_a_virtual_call(Shape *shape, int *out) {
    out[0] = shape->area(out[1]);
}
}
