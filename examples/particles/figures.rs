//! The particle demo's figures in a summary.

use std::fmt;

use serde::Serialize;

use crate::console::count;
use crate::summary::short;

/// The figures of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// `encounter`, or the picture's file.
    pub scene: String,
    /// The number of particles that each frame moved and drew.
    pub particles: u32,
    /// Particles that compute moved per second.
    pub particles_computed_per_second: f64,
    /// Particles that rendering drew per second: every computed particle is drawn.
    pub particles_drawn_per_second: f64,
}

impl Figures {
    /// Computes the figures of `frames` frames in `seconds`.
    pub fn new(scene: String, particles: u32, frames: u64, seconds: f64) -> Self {
        let rate = if seconds > 0.0 { f64::from(particles) * frames as f64 / seconds } else { 0.0 };
        Self { scene, particles, particles_computed_per_second: rate, particles_drawn_per_second: rate }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [computed, drawn] = [self.particles_computed_per_second, self.particles_drawn_per_second].map(short);
        write!(f, "{}: {computed}/s computed, {drawn}/s drawn", count(self.particles, "particle"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_follow_from_the_time() {
        let figures = Figures::new("encounter".into(), 1_000_000, 100, 0.2);
        assert_eq!(figures.to_string(), "1000000 particles: 500 M/s computed, 500 M/s drawn");
        assert_eq!(Figures::new("encounter".into(), 5, 0, 0.0).particles_drawn_per_second, 0.0);
    }
}
