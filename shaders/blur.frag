// A bell-shaped blur along a row or a column. Twin of `Level::blurred` in examples/particles/finish.rs.
#version 450

layout(set = 0, binding = 0) uniform texture2D light;

layout(push_constant) uniform Blur {
    vec4 weights[2];
    ivec2 direction;
} blur;

layout(location = 0) out vec4 target;

vec3 fetch(ivec2 at) {
    return texelFetch(light, clamp(at, ivec2(0), textureSize(light, 0) - 1), 0).rgb;
}

void main() {
    ivec2 at = ivec2(gl_FragCoord.xy);
    vec3 sum = fetch(at) * blur.weights[0][0];
    for (int i = 1; i < 6; ++i) {
        ivec2 away = blur.direction * i;
        sum += (fetch(at - away) + fetch(at + away)) * blur.weights[i / 4][i % 4];
    }
    target = vec4(sum, 1.0);
}
