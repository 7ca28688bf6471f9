//! Measurement of the frame rate.

use std::mem::take;
use std::time::{Duration, Instant};

/// Interval of the measurements.
const SPAN: Duration = Duration::from_secs(1);

/// A counter of frames per second.
#[derive(Debug)]
pub(crate) struct Rate {
    frames: u32,
    since: Instant,
}

impl Rate {
    pub(crate) fn new() -> Self {
        Self { frames: 0, since: Instant::now() }
    }

    /// Counts a frame. Returns the rate if a new measurement is complete.
    pub(crate) fn count(&mut self) -> Option<f64> {
        self.frames += 1;
        let since = self.since.elapsed();
        if since < SPAN {
            return None;
        }
        let rate = f64::from(take(&mut self.frames)) / since.as_secs_f64();
        self.since = Instant::now();
        Some(rate)
    }
}
