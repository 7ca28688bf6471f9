// Twin of examples/src/maths.rs: sines that are rounded the same way on every GPU.

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

// Returns the fifth power of `x`, as in Schlick's approximation of the reflected light, where `x` is 1 - cos.
float fifth(float x) {
    float square = x * x;
    return square * square * x;
}
