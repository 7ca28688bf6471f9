// Functions that all kernels share. Twin of examples/src/maths.rs, with the same operations in the same order, so that both
// give the same bits: only + - * /, sqrt and integers, compiled with --fmad=false and without flushing of subnormals.
#pragma once

typedef unsigned int u32;

__device__ static float whole_below(float x) {
    float whole = (float)(int)x;
    return whole > x ? whole - 1.0f : whole;
}

__device__ static float sin_turns(float x) {
    float r = x - whole_below(x + 0.5f);
    if (r > 0.25f) r = 0.5f - r;
    if (r < -0.25f) r = -0.5f - r;
    float q = r * r;
    return r * (6.2831855f + q * (-41.3417f + q * (81.60525f + q * (-76.70586f + q * 42.0587f))));
}

__device__ static float cos_turns(float x) {
    return sin_turns(x + 0.25f);
}

// Returns `x` as a half float, rounded to nearest, ties to even.
__device__ static unsigned short half_of(float x) {
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
}
