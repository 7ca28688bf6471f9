//! The rate of the simulations.

use std::time::{Duration, Instant};

use bevy::prelude::*;

const LIMIT: Duration = Duration::from_secs(10);

/// The pace of the simulations; the resource exists while they run.
#[derive(Resource, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Each of Bevy's frames begins a frame of each simulation, if fewer than two are unfinished.
    Free,
    /// Each of Bevy's frames begins a frame of each simulation, waiting if necessary. For
    /// comparisons, so that no variant draws faster by showing fewer frames.
    EachFrame,
}

impl Pace {
    /// Begins a frame with `write`, which returns `false` while no frame can begin.
    pub(crate) fn begin<E>(self, mut write: impl FnMut() -> Result<bool, E>) -> Result<bool, E> {
        let start = Instant::now();
        loop {
            let written = write()?;
            if written || self == Self::Free || start.elapsed() > LIMIT {
                return Ok(written);
            }
            std::thread::yield_now();
        }
    }
}
