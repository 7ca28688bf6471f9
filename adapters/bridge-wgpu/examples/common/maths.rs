//! The functions of `shaders/maths.cuh`, with the operations in the same order, so that the results
//! are bit-identical.

/// Returns the sine of an angle in turns.
pub(crate) fn sin_turns(x: f32) -> f32 {
    let mut r = x - (x + 0.5).floor();
    if r > 0.25 {
        r = 0.5 - r;
    }
    if r < -0.25 {
        r = -0.5 - r;
    }
    let q = r * r;
    r * (6.283_185_5 + q * (-41.341_7 + q * (81.605_25 + q * (-76.705_86 + q * 42.058_7))))
}

/// Returns the cosine of an angle in turns.
pub(crate) fn cos_turns(x: f32) -> f32 {
    sin_turns(x + 0.25)
}
