// The mean of 4 x 4 texels, each clamped to a limit. Twin of `Level::gathered` in examples/particles/finish.rs.
#version 450

layout(set = 0, binding = 0) uniform texture2D light;

layout(push_constant) uniform Glow {
    float limit;
} glow;

layout(location = 0) out vec4 target;

void main() {
    ivec2 corner = ivec2(gl_FragCoord.xy) * 4;
    ivec2 last = textureSize(light, 0) - 1;
    vec3 sum = vec3(0.0);
    for (int y = 0; y < 4; ++y) {
        for (int x = 0; x < 4; ++x) {
            sum += min(texelFetch(light, min(corner + ivec2(x, y), last), 0).rgb, vec3(glow.limit));
        }
    }
    target = vec4(sum / 16.0, 1.0);
}
