// Twin of examples/src/maths.rs: sines that every GPU rounds alike.

float sin_turns(float x) {
    float r = x - floor(x + 0.5);
    r = r > 0.25 ? 0.5 - r : r;
    r = r < -0.25 ? -0.5 - r : r;
    float q = r * r;
    return r * (6.2831855 + q * (-41.3417 + q * (81.60525 + q * (-76.70586 + q * 42.0587))));
}

float cos_turns(float x) {
    return sin_turns(x + 0.25);
}

// 1 - cos at a surface to what of the light it mirrors: Schlick's fifth power.
float fifth(float x) {
    float square = x * x;
    return square * square * x;
}
