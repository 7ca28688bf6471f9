// The scene of the post-processing demo. Twin of examples/postprocess/knot.rs.

#include "maths.glsl"

const float MAJOR = 1.0;
const float MINOR = 0.44;
const float THICK = 0.165;
const float WIND_AXIS = 2.0;
const float WIND_RING = 3.0;
const float ORBS = 56.0;

layout(push_constant) uniform View {
    mat4 transform;
    vec3 eye;
    float time;
    vec3 light;
    uint seed;
    uvec2 mesh;
} view;

struct Place {
    vec3 at;
    vec3 normal;
};

// Returns the point of the tube at `turns.x` turns along it and `turns.y` turns around it.
Place tube(vec2 turns) {
    float s = turns.x;
    vec3 axis = vec3(cos_turns(WIND_AXIS * s), 0.0, sin_turns(WIND_AXIS * s));
    vec3 along_axis = vec3(-sin_turns(WIND_AXIS * s), 0.0, cos_turns(WIND_AXIS * s));
    vec3 outward = axis * cos_turns(WIND_RING * s) + vec3(0.0, sin_turns(WIND_RING * s), 0.0);
    vec3 around = vec3(0.0, cos_turns(WIND_RING * s), 0.0) - axis * sin_turns(WIND_RING * s);
    vec3 ahead = along_axis * (WIND_AXIS * (MAJOR + MINOR * cos_turns(WIND_RING * s))) + around * (WIND_RING * MINOR);
    vec3 side = normalize(cross(ahead, outward));
    vec3 normal = outward * cos_turns(turns.y) + side * sin_turns(turns.y);
    return Place(axis * MAJOR + outward * MINOR + normal * THICK, normal);
}

uint hash(uint x) {
    uint h = x;
    h ^= h >> 16;
    h *= 0x21f0aaadu;
    h ^= h >> 15;
    h *= 0xd35a2d97u;
    return h ^ (h >> 15);
}

// Returns a pseudorandom number in 0..1 for orb `orb`.
float chance(uint orb, uint which) {
    return float(hash(view.seed ^ (orb * 8u + which)) >> 8) / 16777216.0;
}

// Returns the center and the radius of orb `orb`.
vec4 orb_place(uint orb) {
    float height = (float(orb) + 0.5) / ORBS * 2.0 - 1.0;
    float ring = sqrt(1.0 - height * height);
    float orbits = chance(orb, 0u) < 0.6 ? -1.0 : -2.0;
    float turn = float(orb) * 0.381966 + orbits * view.time;
    float far = 1.62 + 0.75 * chance(orb, 1u);
    vec3 middle = vec3(ring * cos_turns(turn), height * 0.72, ring * sin_turns(turn)) * far;
    return vec4(middle, 0.022 + 0.050 * chance(orb, 2u) * chance(orb, 3u));
}

// Returns the direction that is `rise` turns above the horizon and `side` turns around the y axis.
vec3 toward(float rise, float side) {
    return vec3(cos_turns(rise) * sin_turns(side), sin_turns(rise), cos_turns(rise) * cos_turns(side));
}

// Returns a color of a wheel from ice over violet to ember.
vec3 wheel(float turn) {
    vec3 channels = vec3(cos_turns(turn + 0.02), cos_turns(turn + 0.42), cos_turns(turn + 0.60)) * 0.5 + 0.5;
    return channels * vec3(1.0, 0.62, 1.0) + vec3(0.06, 0.05, 0.10);
}

float strip(float y, float height) {
    return 1.0 - smoothstep(0.04, 0.10, abs(y - height));
}

// Returns the light from the surroundings of the scene: darkness with two strips of light and one lamp.
vec3 room(vec3 at) {
    vec3 dim = mix(vec3(0.012, 0.013, 0.020), vec3(0.060, 0.085, 0.140), smoothstep(-0.4, 0.9, at.y));
    float lamp = smoothstep(0.80, 0.96, dot(at, view.light));
    return dim + vec3(0.34, 0.44, 0.62) * strip(at.y, 0.42) + vec3(0.30, 0.13, 0.09) * strip(at.y, -0.45)
        + vec3(2.2, 1.95, 1.7) * lamp;
}

// Returns the light of a metal of color `tint` that reflects the room.
vec3 metal(vec3 normal, vec3 to_eye, vec3 tint) {
    float facing = max(dot(normal, view.light), 0.0);
    float toward = dot(normal, to_eye);
    vec3 gloss = tint + (1.0 - tint) * fifth(1.0 - clamp(toward, 0.0, 1.0));
    vec3 mirrored = normal * (2.0 * toward) - to_eye;
    float glint = pow(max(dot(normal, normalize(to_eye + view.light)), 0.0), 48.0) * facing;
    return room(mirrored) * gloss + tint * (0.30 * facing + 3.0 * glint) + tint * 0.012;
}
