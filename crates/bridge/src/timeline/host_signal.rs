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
    match unsafe { semaphore.signal(value) } {
        Err(error) if !error.is_device_lost() && semaphore.value().is_ok_and(|reached| reached >= value) => Ok(()),
        signaled => Ok(signaled?),
    }
}
