//! The rate of the simulations.

use std::time::{Duration, Instant};

use bevy::prelude::*;

const LIMIT: Duration = Duration::from_secs(10);

/// There while the simulations run.
#[derive(Resource, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// A frame of Bevy's begins one of each simulation's if fewer than two are unfinished.
    Free,
    /// Each frame of Bevy's begins one, and waits until it may: for comparisons, in which no variant
    /// draws faster by showing fewer frames.
    EachFrame,
}

impl Pace {
    /// Begins a frame by `write`, which returns `false` while it may not.
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
