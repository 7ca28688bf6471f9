// Declarations that both stages of the ring share. Twin of `View` and `frame` in examples/texture/ring.rs.

#include "maths.glsl"

const float MAJOR = 1.0;
const float MINOR = 0.46;

layout(set = 0, binding = 0) uniform texture2D field;
layout(set = 0, binding = 1) uniform sampler linear;

layout(push_constant) uniform View {
    mat4 transform;
    vec3 eye;
    float relief;
    vec3 light;
    uint along;
    uint around;
} view;

struct Frame {
    vec3 along;
    vec3 around;
    vec3 outward;
    vec3 place;
};

Frame frame(vec2 turns, float height) {
    vec3 from_axis = vec3(cos_turns(turns.x), 0.0, sin_turns(turns.x));
    vec3 outward = from_axis * cos_turns(turns.y) + vec3(0.0, sin_turns(turns.y), 0.0);
    vec3 along = vec3(-sin_turns(turns.x), 0.0, cos_turns(turns.x));
    vec3 around = vec3(0.0, cos_turns(turns.y), 0.0) - from_axis * sin_turns(turns.y);
    return Frame(along, around, outward, from_axis * MAJOR + outward * (MINOR + height));
}
