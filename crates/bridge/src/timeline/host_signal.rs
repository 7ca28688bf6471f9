//! Signals of timelines by the host.
#![allow(unsafe_code)] // Signaling from the host.

use vk_export::Semaphore;

use crate::error::Result;

/// Signals `value` from the host. A driver may return an error, such as out of memory, although it
/// signaled the semaphore; this returns `Ok` if the counter has reached the value.
///
/// # Safety
/// As [`Semaphore::signal`].
pub(crate) unsafe fn signal(semaphore: &Semaphore, value: u64) -> Result<()> {
    // SAFETY: upheld by the caller.
    unsafe { signal_and_verify(semaphore, value, |reached| reached >= value) }
}

/// Like [`signal`], for a timeline that another process could wrongly raise: an error is ignored
/// only if the counter equals `value`, since a higher value was not signaled here.
///
/// # Safety
/// As [`Semaphore::signal`].
#[cfg(all(target_os = "linux", feature = "remote"))]
pub(crate) unsafe fn signal_exactly(semaphore: &Semaphore, value: u64) -> Result<()> {
    // SAFETY: upheld by the caller.
    unsafe { signal_and_verify(semaphore, value, |reached| reached == value) }
}

/// # Safety
/// As [`Semaphore::signal`].
unsafe fn signal_and_verify(semaphore: &Semaphore, value: u64, is_made: impl Fn(u64) -> bool) -> Result<()> {
    // SAFETY: upheld by the caller.
    match unsafe { semaphore.signal(value) } {
        Err(error) if !error.is_device_lost() && semaphore.value().is_ok_and(is_made) => Ok(()),
        signaled => Ok(signaled?),
    }
}
