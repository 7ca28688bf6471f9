// The kernels of the particle demo: one thread moves one particle by one frame and writes it for Vulkan to draw.
//
// Twins of examples/src/maths.rs and examples/particles/scene (encounter.rs and mosaic.rs), with the same operations in
// the same order, so that both give the same bits: only + - * /, sqrt and integers, compiled with --fmad=false and
// without flushing of subnormals. The host passes the structures below by their bytes; both sides assert their layouts.

#include "maths.cuh"

struct alignas(16) Particle {
    float position[3];
    u32 color;
};
static_assert(sizeof(Particle) == 16 && alignof(Particle) == 16, "must match particle.rs");

struct alignas(16) Body {
    float position[3];
    u32 color;
    float velocity[3];
    u32 extra;
};
static_assert(sizeof(Body) == 32 && alignof(Body) == 16, "must match particle.rs");

constexpr u32 MAX_SUBSTEPS = 16;

struct EncounterStep {
    float cores[MAX_SUBSTEPS][2][4];
    float softening[2];
    float duration;
    u32 substeps;
};
static_assert(sizeof(EncounterStep) == 528, "must match encounter.rs");

constexpr u32 WAVES = 6;
constexpr u32 LIFTS = 2;

struct MosaicStep {
    float waves[WAVES][4];
    float lifts[LIFTS][4];
    float vortex[4];
    float first[2];
    float cell;
    float start;
    float duration;
    float shown;
    u32 columns;
    u32 substeps;
    u32 from;
};
static_assert(sizeof(MosaicStep) == 180, "must match mosaic.rs");

// maths.rs, beside maths.cuh

__device__ static float saturated(float x) {
    return x < 0.0f ? 0.0f : x > 1.0f ? 1.0f : x;
}

__device__ static float smootherstep(float x) {
    float t = saturated(x);
    return t * t * t * (t * (t * 6.0f - 15.0f) + 10.0f);
}

__device__ static u32 mix_rgba8(u32 a, u32 b, u32 weight) {
    u32 mixed = 0;
    for (u32 shift = 0; shift < 32; shift += 8) {
        u32 low = (a >> shift) & 255;
        u32 high = (b >> shift) & 255;
        mixed |= ((low * (256 - weight) + high * weight) >> 8) << shift;
    }
    return mixed;
}

// scene/encounter.rs

extern "C" __global__ void encounter(Particle *particles, Body *stars, u32 count, EncounterStep step) {
    u32 id = blockIdx.x * blockDim.x + threadIdx.x;
    if (id >= count) return;
    Body star = stars[id];
    float x = star.position[0], y = star.position[1], z = star.position[2];
    float u = star.velocity[0], v = star.velocity[1], w = star.velocity[2];
    float half = step.duration * 0.5f;
    float pull = 0.0f;
    for (u32 substep = 0; substep < step.substeps; ++substep) {
        x += u * half;
        y += v * half;
        z += w * half;
        pull = 0.0f;
        for (u32 i = 0; i < 2; ++i) {
            const float *core = step.cores[substep][i];
            float dx = core[0] - x;
            float dy = core[1] - y;
            float dz = core[2] - z;
            float q = dx * dx + dy * dy + dz * dz + step.softening[i];
            float strength = core[3] / (q * sqrtf(q));
            pull += strength;
            float kick = strength * step.duration;
            u += dx * kick;
            v += dy * kick;
            w += dz * kick;
        }
        x += u * half;
        y += v * half;
        z += w * half;
    }
    float heat = saturated(pull * 0.02f);
    stars[id] = Body{{x, y, z}, star.color, {u, v, w}, star.extra};
    particles[id] = Particle{{x, y, z}, mix_rgba8(star.color, star.extra, (u32)(heat * 256.0f))};
}

// scene/mosaic.rs

extern "C" __global__ void mosaic(Particle *particles, Body *grains, u32 count, MosaicStep step) {
    const float DELAY_UNIT = 1.0f / 65536.0f;
    const float LAST_START = 0.26f;
    const float RAMP = 0.16f;
    const float FIRST_RETURN = 0.52f;
    const float RETURN_SPREAD = 0.22f;
    const float RETURN = 0.24f;
    const float DRAG = 12.0f;

    u32 id = blockIdx.x * blockDim.x + threadIdx.x;
    if (id >= count) return;
    Body grain = grains[id];
    u32 place = step.from + id;
    float home_x = step.first[0] + step.cell * (float)(place % step.columns);
    float home_y = step.first[1] + step.cell * (float)(place / step.columns);
    float delay = (float)grain.extra * DELAY_UNIT;
    float x = grain.position[0], y = grain.position[1], z = grain.position[2];
    float u = grain.velocity[0], v = grain.velocity[1], w = grain.velocity[2];
    if (step.substeps == 0) {
        x = home_x, y = home_y, z = 0.0f;
        u = 0.0f, v = 0.0f, w = 0.0f;
    }
    for (u32 substep = 0; substep < step.substeps; ++substep) {
        float time = step.start + step.duration * (float)substep;
        float awake = smootherstep((time - LAST_START * delay) / RAMP);
        float from_x = x - step.vortex[0];
        float from_y = y - step.vortex[1];
        float turn = step.vortex[2] / (1.0f + (from_x * from_x + from_y * from_y) * step.vortex[3]);
        float flow_x = from_y * turn;
        float flow_y = 0.0f - from_x * turn;
        float flow_z = 0.0f;
        for (u32 i = 0; i < WAVES; ++i) {
            const float *wave = step.waves[i];
            float along = wave[3] * cos_turns(wave[0] * x + wave[1] * y + wave[2]);
            flow_x += wave[1] * along;
            flow_y -= wave[0] * along;
        }
        for (u32 i = 0; i < LIFTS; ++i) {
            const float *lift = step.lifts[i];
            flow_z += lift[3] * sin_turns(lift[0] * x + lift[1] * y + lift[2]);
        }
        float grip = DRAG * step.duration;
        u += (flow_x * awake - u) * grip;
        v += (flow_y * awake - v) * grip;
        w += (flow_z * awake - w) * grip;
        x += u * step.duration;
        y += v * step.duration;
        z += w * step.duration;
    }
    float away = 1.0f - smootherstep((step.shown - FIRST_RETURN - RETURN_SPREAD * delay) / RETURN);
    grains[id] = Body{{x, y, z}, grain.color, {u, v, w}, grain.extra};
    particles[id] =
        Particle{{home_x + (x - home_x) * away, home_y + (y - home_y) * away, 0.0f + z * away}, grain.color};
}
