// The kernels of the post-processing demo: one thread computes one texel of a level or one pixel of the picture. Twins of
// examples/postprocess/bloom.rs. They agree bit for bit except in values that the texture unit filters.

#include "maths.cuh"

constexpr u32 LEVELS = 5;
constexpr u32 BLUR = 6;

struct Level {
    u32 first;
    u32 width;
    u32 height;
};

struct Bloom {
    Level levels[LEVELS];
    float glow[LEVELS];
    float blur[BLUR];
    float threshold;
    float limit;
    u32 size[2];
    u32 samples;
    float curtain;
};
static_assert(sizeof(Bloom) == 128, "must match bloom.rs");

struct Light {
    float r, g, b;
};

__device__ static Light operator+(Light a, Light b) {
    return Light{a.r + b.r, a.g + b.g, a.b + b.b};
}

__device__ static Light operator*(Light a, float factor) {
    return Light{a.r * factor, a.g * factor, a.b * factor};
}

__device__ static Light operator/(Light a, float divisor) {
    return Light{a.r / divisor, a.g / divisor, a.b / divisor};
}

__device__ static int held(int at, u32 side) {
    return at < 0 ? 0 : at >= (int)side ? (int)side - 1 : at;
}

__device__ static Light texel(const Light *pyramid, Level level, int x, int y) {
    return pyramid[level.first + held(y, level.height) * level.width + held(x, level.width)];
}

// Returns the scene at a position in texels, interpolated by the texture unit. Its coordinates are normalized, because
// textures in command buffers support no others.
__device__ static Light seen(cudaTextureObject_t scene, const Bloom &bloom, float x, float y) {
    float4 light = tex2D<float4>(scene, x / (float)(bloom.size[0] * bloom.samples), y / (float)(bloom.size[1] * bloom.samples));
    return Light{light.x, light.y, light.z};
}

// Writes the first level: the bright parts of the scene at half the size of the picture.
extern "C" __global__ void bright(Light *pyramid, cudaTextureObject_t scene, Bloom bloom) {
    u32 x = blockIdx.x * blockDim.x + threadIdx.x;
    u32 y = blockIdx.y * blockDim.y + threadIdx.y;
    Level level = bloom.levels[0];
    if (x >= level.width || y >= level.height) return;
    Light sum = Light{0.0f, 0.0f, 0.0f};
    for (u32 tap = 0; tap < bloom.samples * bloom.samples; ++tap) {
        u32 across = tap % bloom.samples, down = tap / bloom.samples;
        // At the common corner of four texels, a linear filter returns their mean.
        sum = sum + seen(scene, bloom, (float)((x * bloom.samples + across) * 2 + 1), (float)((y * bloom.samples + down) * 2 + 1));
    }
    Light mean = sum / (float)(bloom.samples * bloom.samples);
    float brightest = fmaxf(fmaxf(fmaxf(mean.r, mean.g), mean.b), 1e-4f);
    float kept = fmaxf(fminf(brightest, bloom.limit) - bloom.threshold, 0.0f) / brightest;
    pyramid[level.first + y * level.width + x] = mean * kept;
}

// Writes level `index`: the mean of 2 x 2 texels of the level before.
extern "C" __global__ void shrink(Light *pyramid, u32 index, Bloom bloom) {
    u32 x = blockIdx.x * blockDim.x + threadIdx.x;
    u32 y = blockIdx.y * blockDim.y + threadIdx.y;
    Level from = bloom.levels[index - 1], level = bloom.levels[index];
    if (x >= level.width || y >= level.height) return;
    int left = 2 * (int)x, top = 2 * (int)y;
    Light above = texel(pyramid, from, left, top) + texel(pyramid, from, left + 1, top);
    Light below = texel(pyramid, from, left, top + 1) + texel(pyramid, from, left + 1, top + 1);
    pyramid[level.first + y * level.width + x] = (above + below) * 0.25f;
}

// Blurs level `index` along rows (`right` is 1) or columns (`down` is 1).
extern "C" __global__ void blur(Light *to, const Light *from, u32 index, int right, int down, Bloom bloom) {
    int x = blockIdx.x * blockDim.x + threadIdx.x;
    int y = blockIdx.y * blockDim.y + threadIdx.y;
    Level level = bloom.levels[index];
    if (x >= (int)level.width || y >= (int)level.height) return;
    Light sum = texel(from, level, x, y) * bloom.blur[0];
    for (int away = 1; away < (int)BLUR; ++away) {
        int dx = right * away, dy = down * away;
        sum = sum + (texel(from, level, x - dx, y - dy) + texel(from, level, x + dx, y + dy)) * bloom.blur[away];
    }
    to[level.first + y * level.width + x] = sum;
}

// Interpolates a level between the four nearest texels; the center of its first texel is at 0, 0.
__device__ static Light between(const Light *pyramid, Level level, float x, float y) {
    float left = whole_below(x), top = whole_below(y);
    float u = x - left, v = y - top;
    int column = (int)left, row = (int)top;
    Light above = texel(pyramid, level, column, row) * (1.0f - u) + texel(pyramid, level, column + 1, row) * u;
    Light below = texel(pyramid, level, column, row + 1) * (1.0f - u) + texel(pyramid, level, column + 1, row + 1) * u;
    return above * (1.0f - v) + below * v;
}

__device__ static float saturated(float x) {
    return fminf(fmaxf(x, 0.0f), 1.0f);
}

__device__ static float filmic(float light) {
    float x = light * 0.8f;
    return saturated(x * (2.51f * x + 0.03f) / (x * (2.43f * x + 0.59f) + 0.14f));
}

// Writes the picture, in the range of a screen: the scene and a part of every level; left of the curtain only the scene.
extern "C" __global__ void compose(cudaSurfaceObject_t picture, cudaTextureObject_t scene, const Light *pyramid,
                                   Bloom bloom) {
    u32 x = blockIdx.x * blockDim.x + threadIdx.x;
    u32 y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= bloom.size[0] || y >= bloom.size[1]) return;
    float samples = (float)bloom.samples;
    float px = (float)x + 0.5f, py = (float)y + 0.5f;
    Light light = seen(scene, bloom, px * samples, py * samples);
    float from_curtain = px - bloom.curtain;
    if (fabsf(from_curtain) < 1.0f) {
        light = Light{0.8f, 0.8f, 0.8f};
    } else if (from_curtain < 0.0f) {
        light = Light{saturated(light.r), saturated(light.g), saturated(light.b)};
    } else {
        float scale = 1.0f;
        for (u32 i = 0; i < LEVELS; ++i) {
            scale *= 0.5f;
            light = light + between(pyramid, bloom.levels[i], px * scale - 0.5f, py * scale - 0.5f) * bloom.glow[i];
        }
        light = Light{filmic(light.r), filmic(light.g), filmic(light.b)};
    }
    ushort4 texel;
    texel.x = half_of(light.r);
    texel.y = half_of(light.g);
    texel.z = half_of(light.b);
    texel.w = half_of(1.0f);
    surf2Dwrite(texel, picture, (int)(x * sizeof(ushort4)), (int)y);
}
