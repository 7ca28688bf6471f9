// The kernels of the texture demo: one thread computes one cell. Twins of examples/texture/growth.rs, with the same
// operations in the same order, so that both give the same bits. The host passes the structure below by its bytes.

#include "maths.cuh"

struct Step {
    float feed[2];
    float kill[2];
    float phase;
    u32 width;
    u32 height;
    u32 reserved;
};
static_assert(sizeof(Step) == 32, "must match growth.rs");

// The indices of a cell and its eight neighbors on the torus, in a plane.
struct Around {
    u32 above[3];
    u32 here[3];
    u32 below[3];

    __device__ Around(u32 x, u32 y, u32 width, u32 height) {
        u32 columns[3] = {x == 0 ? width - 1 : x - 1, x, x + 1 == width ? 0 : x + 1};
        u32 rows[3] = {y == 0 ? height - 1 : y - 1, y, y + 1 == height ? 0 : y + 1};
        for (u32 i = 0; i < 3; ++i) {
            above[i] = rows[0] * width + columns[i];
            here[i] = rows[1] * width + columns[i];
            below[i] = rows[2] * width + columns[i];
        }
    }

    // Returns the weighted mean of the neighbors minus the value of the cell.
    __device__ float more(const float *plane) const {
        float edges = (plane[above[1]] + plane[below[1]]) + (plane[here[0]] + plane[here[2]]);
        float corners = (plane[above[0]] + plane[above[2]]) + (plane[below[0]] + plane[below[2]]);
        return (edges * 0.2f + corners * 0.05f) - plane[here[1]];
    }
};

// Advances all cells by one step. A state is two planes of `width * height` floats: feed, then catalyst.
extern "C" __global__ void grow(float *to, const float *from, Step step) {
    u32 x = blockIdx.x * blockDim.x + threadIdx.x;
    u32 y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= step.width || y >= step.height) return;
    u32 cells = step.width * step.height;
    float part = 0.5f - 0.5f * cos_turns((float)x / (float)step.width + step.phase);
    float feed = step.feed[0] + (step.feed[1] - step.feed[0]) * part;
    float kill = step.kill[0] + (step.kill[1] - step.kill[0]) * part;

    Around cell(x, y, step.width, step.height);
    u32 here = cell.here[1];
    float a = from[here], b = from[cells + here];
    float eaten = a * b * b;
    float flow = feed * (1.0f - a);
    float death = (feed + kill) * b;
    to[here] = a + ((1.0f * cell.more(from) - eaten) + flow);
    to[cells + here] = b + ((0.5f * cell.more(from + cells) + eaten) - death);
}

// Writes the image: catalyst, its slopes along a row and along a column, feed.
extern "C" __global__ void relief(cudaSurfaceObject_t image, const float *state, Step step) {
    u32 x = blockIdx.x * blockDim.x + threadIdx.x;
    u32 y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= step.width || y >= step.height) return;
    const float *catalyst = state + step.width * step.height;
    Around cell(x, y, step.width, step.height);
    ushort4 texel;
    texel.x = half_of(catalyst[cell.here[1]]);
    texel.y = half_of(catalyst[cell.here[2]] - catalyst[cell.here[0]]);
    texel.z = half_of(catalyst[cell.below[1]] - catalyst[cell.above[1]]);
    texel.w = half_of(state[cell.here[1]]);
    // Surfaces are addressed in bytes along a row.
    surf2Dwrite(texel, image, (int)(x * sizeof(ushort4)), (int)y);
}
