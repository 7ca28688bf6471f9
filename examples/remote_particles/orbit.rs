//! What the worker computes and the renderer checks.

/// What the worker asks for.
pub(crate) const NAME: &str = "particles";

/// Particle `i` in a step: x, y, the step, and the particle's number.
pub(crate) fn particle(i: usize, step: u64) -> [f32; 4] {
    let radius = 0.1 + 0.85 * (i as f32 * 0.618_034).fract();
    let angle = i as f32 * 2.399_963 + step as f32 * 0.002 / radius;
    [radius * angle.cos(), radius * angle.sin(), step as f32, i as f32]
}
