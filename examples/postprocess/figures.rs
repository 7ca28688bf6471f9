//! The post-processing demo's figures in a summary.

use std::fmt;

use serde::Serialize;

use crate::console::count;
use crate::summary::short;

/// The figures of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Texels of the scene on each side of a pixel.
    pub samples: u32,
    /// Texels of the scene that were filtered per second.
    pub texels_per_second: f64,
}

impl Figures {
    /// Computes the figures of `frames` frames of scenes of `scene` texels in `seconds`.
    pub fn new(scene: [u32; 2], samples: u32, frames: u64, seconds: f64) -> Self {
        let texels = f64::from(scene[0]) * f64::from(scene[1]) * frames as f64;
        Self { samples, texels_per_second: if seconds > 0.0 { texels / seconds } else { 0.0 } }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (samples, rate) = (count(self.samples * self.samples, "texel"), short(self.texels_per_second));
        write!(f, "{samples} a pixel: {rate} texels/s filtered")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_follow_from_the_time() {
        let figures = Figures::new([100, 50], 2, 10, 0.5);
        assert_eq!(figures.to_string(), "4 texels a pixel: 100 k texels/s filtered");
        assert_eq!(Figures::new([100, 50], 1, 10, 0.5).to_string(), "1 texel a pixel: 100 k texels/s filtered");
        assert_eq!(Figures::new([100, 50], 1, 0, 0.0).texels_per_second, 0.0);
    }
}
