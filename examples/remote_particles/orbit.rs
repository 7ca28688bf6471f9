//! The computation that the worker makes and the renderer checks: the twin of the kernel `orbit` in
//! `shaders/remote.cu`.

use bridge_examples::maths::{cos_turns, floor, sin_turns};

/// The name of the exchange that the worker requests.
pub(crate) const NAME: &str = "particles";

/// Returns particle `i` in a step: x, y, the step, and the particle's number.
pub(crate) fn particle(i: usize, step: u32) -> [f32; 4] {
    let place = i as f32 * 0.618_034;
    let radius = 0.1 + 0.85 * (place - floor(place));
    let turns = i as f32 * 0.381_966 + step as f32 * 0.000_318_3 / radius;
    [radius * cos_turns(turns), radius * sin_turns(turns), step as f32, i as f32]
}
