//! The texture demo's figures in a summary.

use std::fmt;

use serde::Serialize;

use crate::console::count;
use crate::summary::short;

/// The figures of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Cells along the ring and around its tube.
    pub grid: [u32; 2],
    /// Steps per frame.
    pub steps: u32,
    /// Texels of light on each side of a pixel.
    pub samples: u32,
    /// Cell steps that compute made per second.
    pub cells_per_second: f64,
}

impl Figures {
    /// Computes the figures of `frames` frames in `seconds`.
    pub fn new(grid: [u32; 2], steps: u32, samples: u32, frames: u64, seconds: f64) -> Self {
        let cells = f64::from(grid[0]) * f64::from(grid[1]) * f64::from(steps) * frames as f64;
        Self { grid, steps, samples, cells_per_second: if seconds > 0.0 { cells / seconds } else { 0.0 } }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [width, height] = self.grid;
        let (steps, rate) = (count(self.steps, "step"), short(self.cells_per_second));
        write!(f, "{width}x{height} cells, {steps} a frame: {rate} cells/s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_follow_from_the_time() {
        let figures = Figures::new([100, 50], 20, 1, 10, 0.5);
        assert_eq!(figures.to_string(), "100x50 cells, 20 steps a frame: 2.00 M cells/s");
        assert_eq!(Figures::new([100, 50], 1, 1, 1, 0.5).to_string(), "100x50 cells, 1 step a frame: 10.0 k cells/s");
        assert_eq!(Figures::new([100, 50], 20, 1, 0, 0.0).cells_per_second, 0.0);
    }
}
