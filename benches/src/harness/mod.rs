//! The measuring methods: samples, the order in which they are taken, and time limits.

pub(crate) mod clock;
pub(crate) mod frames;
pub(crate) mod observer;
pub(crate) mod rounds;
pub(crate) mod stats;
pub(crate) mod watchdog;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// The limit of every wait, much longer than any wait takes.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// Polls continuously until `reached`: the lowest latency, at the cost of one processor.
pub(crate) fn spin_until(what: &str, mut reached: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !reached()? {
        if start.elapsed() > LIMIT {
            bail!("{what}: nothing after {LIMIT:?}");
        }
        std::hint::spin_loop();
    }
    Ok(())
}

/// The reason why this machine cannot run a case.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Skip(pub(crate) String);

impl Skip {
    /// Returns the error that skips a case.
    pub(crate) fn because<T>(reason: impl Into<String>) -> Result<T> {
        Err(Self(reason.into()).into())
    }
}
