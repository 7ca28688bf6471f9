//! Classification of errors that report a lost device.

use crate::error::{Error, Result};

impl Error {
    /// Returns `true` if a side of an exchange is lost, so that its work will never complete: the
    /// Vulkan device, the CUDA context, or the CPU backend's thread ([`Error::HostFailed`]).
    pub fn is_device_lost(&self) -> bool {
        match self {
            Self::Vulkan(error) => error.is_device_lost(),
            Self::Cuda(error) => error.is_context_lost(),
            Self::HostFailed { .. } => true,
            _ => false,
        }
    }

    /// Returns `true` if the driver of a side is out of memory. A new call may succeed after the
    /// program has freed memory.
    ///
    /// The failed call may have had effects, as with its other errors: a turn, for example, may
    /// count as skipped. If [`vk_export::Error::may_still_run`] returns `true`, commands may still
    /// be running: do not free what they use.
    pub fn is_out_of_memory(&self) -> bool {
        match self {
            Self::Vulkan(error) => error.is_out_of_memory(),
            Self::Cuda(error) => error.is_out_of_memory(),
            Self::NoCuda { reason, .. } => reason.is_out_of_memory(),
            _ => false,
        }
    }

    /// Returns `true` if the Vulkan device is lost: nothing runs on it, and resources that its
    /// commands used may be freed (Vulkan specification, "Lost Device").
    pub(crate) fn is_vulkan_lost(&self) -> bool {
        matches!(self, Self::Vulkan(error) if error.is_device_lost())
    }
}

/// Combines two results. If both are errors, returns the first, or the second if the first reports
/// a lost device.
#[inline]
pub(crate) fn first_error(first: Result<()>, second: Result<()>) -> Result<()> {
    match (first, second) {
        (Ok(()), other) | (other, Ok(())) => other,
        (Err(first), Err(second)) => Err(if first.is_device_lost() { second } else { first }),
    }
}
