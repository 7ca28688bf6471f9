// Conversion from light to the values of an 8-bit target. Twin of examples/src/color.rs.

float filmic(float light) {
    float x = light * 0.8;
    return clamp(x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14), 0.0, 1.0);
}

float srgb(float channel) {
    return channel <= 0.0031308 ? channel * 12.92 : 1.055 * pow(channel, 1.0 / 2.4) - 0.055;
}

// Returns an offset of less than half an 8-bit step up or down, in a Bayer pattern, so that dark glows show no bands.
float dither(ivec2 at) {
    int x = at.x & 7;
    int q = (at.x ^ at.y) & 7;
    int rank = (q & 1) << 5 | (x & 1) << 4 | (q & 2) << 2 | (x & 2) << 1 | (q & 4) >> 1 | (x & 4) >> 2;
    return ((float(rank) + 0.5) / 64.0 - 0.5) / 255.0;
}

// Returns the value to write to an 8-bit target for linear light in 0..=1.
vec4 shown(vec3 light, ivec2 at) {
    return vec4(vec3(srgb(light.r), srgb(light.g), srgb(light.b)) + dither(at), 1.0);
}
