//! Signals of timelines by the host.
#![allow(unsafe_code)] // Signaling from the host.

use vk_export::Semaphore;

use crate::error::Result;

/// Signals from the host. A driver may return an error, such as for memory that has run out, though
/// the signal was made: the value counts.
///
/// # Safety
/// As [`Semaphore::signal`].
pub(crate) unsafe fn signal(semaphore: &Semaphore, value: u64) -> Result<()> {
    // SAFETY: handed on to the caller.
    unsafe { signal_and_look(semaphore, value, |reached| reached >= value) }
}

/// The same for a timeline that others may raise, who must not: a higher value is not this
/// signal's.
///
/// # Safety
/// As [`Semaphore::signal`].
#[cfg(all(target_os = "linux", feature = "remote"))]
pub(crate) unsafe fn signal_exactly(semaphore: &Semaphore, value: u64) -> Result<()> {
    // SAFETY: handed on to the caller.
    unsafe { signal_and_look(semaphore, value, |reached| reached == value) }
}

/// # Safety
/// As [`Semaphore::signal`].
unsafe fn signal_and_look(semaphore: &Semaphore, value: u64, is_made: impl Fn(u64) -> bool) -> Result<()> {
    // SAFETY: handed on to the caller.
    match unsafe { semaphore.signal(value) } {
        Err(error) if !error.is_device_lost() && semaphore.value().is_ok_and(is_made) => Ok(()),
        signaled => Ok(signaled?),
    }
}
