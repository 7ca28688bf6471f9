// The kernel of examples/remote_worker. Twin of examples/remote_particles/orbit.rs, with the same operations in the same
// order.

#include "maths.cuh"

// Writes particle i in a step: x, y, the step, and the number of the particle.
extern "C" __global__ void orbit(float4 *particles, u32 len, u32 step) {
    u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= len) return;
    float place = (float)i * 0.618034f;
    float radius = 0.1f + 0.85f * (place - whole_below(place));
    float turns = (float)i * 0.381966f + (float)step * 0.0003183f / radius;
    particles[i] = make_float4(radius * cos_turns(turns), radius * sin_turns(turns), (float)step, (float)i);
}
