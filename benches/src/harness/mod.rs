//! How things are measured: what a sample is, in which order samples are taken, and when that ends.

pub(crate) mod clock;
pub(crate) mod frames;
pub(crate) mod observer;
pub(crate) mod rounds;
pub(crate) mod stats;
pub(crate) mod watchdog;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// The limit of every wait: far more than any takes.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// Looks without pause until `reached`: the quickest way to notice anything, at the price of a
/// processor.
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

/// A case that this machine cannot run, and why.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Skip(pub(crate) String);

impl Skip {
    /// For returning from a case.
    pub(crate) fn because<T>(reason: impl Into<String>) -> Result<T> {
        Err(Self(reason.into()).into())
    }
}
