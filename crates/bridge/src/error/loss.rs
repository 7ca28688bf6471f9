//! Which errors tell of a lost device.

use crate::error::{Error, Result};

impl Error {
    /// Returns `true` if the device of either side is lost, so that nothing on it will ever
    /// complete.
    pub fn is_device_lost(&self) -> bool {
        match self {
            Self::Vulkan(error) => error.is_device_lost(),
            Self::Cuda(error) => error.is_context_lost(),
            Self::HostFailed { .. } => true,
            _ => false,
        }
    }
}

/// Both outcomes as one: a lost device is named only where nothing else failed.
#[inline]
pub(crate) fn both(first: Result<()>, second: Result<()>) -> Result<()> {
    match (first, second) {
        (Ok(()), other) | (other, Ok(())) => other,
        (Err(first), Err(second)) => Err(if first.is_device_lost() { second } else { first }),
    }
}
