//! New timelines for the next worker of an exchange in step.
#![allow(unsafe_code)] // Signals in the place of a process that has ended.

use std::ops::Deref;
use std::time::{Duration, Instant};

use bridge_ipc::Backend;

use super::part::release_gpu;
use crate::error::{Error, Result};
use crate::exchange::{RemoteHandle, WorkerState};

/// Implements [`WorkerHandle::prepare`](super::part::WorkerHandle::prepare): calls `renew`, which
/// creates the timelines, once the exchange is settled. A worker with CUDA gets timelines that no
/// other had. On the CPU, only this process uses them.
///
/// # Safety
/// The earlier workers have ended or have closed the exchange, as for [`WorkerState::release`].
pub(super) unsafe fn renew_timelines<E>(
    end: &mut E,
    backend: Backend,
    limit: Duration,
    check_wanted: &dyn Fn() -> Result<()>,
    renew: impl FnOnce(&mut E, &dyn Fn() -> Result<()>) -> Result<()>,
) -> Result<()>
where
    E: RemoteHandle + Deref<Target = WorkerState<E::Resources>>,
{
    if backend == Backend::Host || end.is_new() {
        return Ok(());
    }
    // SAFETY: upheld by the caller.
    unsafe { release_gpu(end) };
    wait_settled(end.exchange(), limit, check_wanted, || end.is_settled())?;
    renew(end, check_wanted)
}

/// Waits, for at most `limit`, until no turn with the last worker's timelines is open.
///
/// # Errors
/// The error of `check_wanted`; [`Error::InvalidArgument`] if a turn is still open at the limit.
fn wait_settled(
    exchange: &str,
    limit: Duration,
    check_wanted: &dyn Fn() -> Result<()>,
    is_settled: impl Fn() -> bool,
) -> Result<()> {
    let start = Instant::now();
    while !is_settled() {
        check_wanted()?;
        if start.elapsed() >= limit {
            return Err(Error::invalid(
                format!("exchange \"{exchange}\""),
                "a frame of the last worker has not been submitted, or its images have not been handed over yet; \
                 submit, skip or drop all turns, then let another worker connect",
            ));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
