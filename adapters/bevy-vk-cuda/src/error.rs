//! Errors of the adapter.

use std::sync::Arc;
use std::time::Duration;

/// The result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Errors of the adapter.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bridge, or one of the two sides below it, failed.
    #[error(transparent)]
    Bridge(#[from] bridge::Error),

    /// Vulkan refused a call that the adapter makes itself.
    #[error("{object}: {call} failed: {result:?}")]
    #[non_exhaustive]
    Vulkan {
        /// The object of the call.
        object: String,
        /// The call.
        call: &'static str,
        /// The driver's result code.
        result: ash::vk::Result,
    },

    /// A closure that computed a frame on the CPU has panicked.
    #[error("{object}: a closure that computed a frame has panicked; drop the object and make another")]
    #[non_exhaustive]
    Panicked {
        /// The image or buffer that the frame belongs to.
        object: String,
    },

    /// Bevy has replaced the device that the object was created on, as its `RenderErrorHandler`
    /// requested. Drop the object and create it again with the current [`Cuda`](crate::Cuda)
    /// resource, which belongs to the new device.
    #[error("{object}: Bevy has replaced its device; create it again, with the current resource `Cuda`")]
    #[non_exhaustive]
    DeviceReplaced {
        /// The image or buffer.
        object: String,
    },

    /// Nothing could be submitted within `limit`, because Bevy was configuring or closing its
    /// windows, during which Vulkan allows no submission to the device. Try again.
    #[error(
        "{object}: Bevy was configuring or closing its windows for more than {limit:?}, and nothing is submitted \
         meanwhile; try again"
    )]
    #[non_exhaustive]
    WindowsConfigured {
        /// The object that should be created.
        object: String,
        /// The time that the call waited.
        limit: Duration,
    },

    /// Bevy does not render after an error, because its `RenderErrorHandler` has returned
    /// `StopRendering`. Frames are shown again once Bevy renders again.
    #[error("{object}: Bevy has stopped rendering")]
    #[non_exhaustive]
    RenderingStopped {
        /// The image or buffer.
        object: String,
    },

    /// Nothing shows the frames any more: the program has dropped their
    /// [`CudaImage`](crate::CudaImage) or [`CudaBuffer`](crate::CudaBuffer), or Bevy's `App`. End
    /// the simulation, and drop its writer.
    #[error(
        "{object}: nothing shows its frames any more, because its `CudaImage` or `CudaBuffer`, or Bevy's `App`, was \
         dropped; end the simulation"
    )]
    #[non_exhaustive]
    Dropped {
        /// The image or buffer that the frames belong to.
        object: String,
    },

    /// Frames do not reach Bevy: their asset was replaced by one that they cannot be copied into
    /// (for example, one with another size or format), memory ran out, the device is lost or was
    /// replaced, or Bevy has stopped rendering.
    #[error("{object}: its frames do not reach Bevy, {}: {source}", again(*.retried))]
    #[non_exhaustive]
    NotPresented {
        /// The image or buffer that the frames belong to.
        object: String,
        /// `true` if presenting is retried in each of Bevy's frames. Otherwise the device or the
        /// compute side is lost, or the device [was replaced](Self::DeviceReplaced): drop the
        /// object, and create it again on a working device.
        retried: bool,
        /// The reason.
        source: Arc<Self>,
    },

    /// An invalid argument.
    #[error("{object}: {reason}")]
    #[non_exhaustive]
    InvalidArgument {
        /// The object that should be created or used.
        object: String,
        /// The reason.
        reason: String,
    },
}

fn again(retried: bool) -> &'static str {
    if retried { "and each of Bevy's frames tries again" } else { "and will not" }
}

impl Error {
    /// Returns `true` if the device of either side is lost or was replaced, or if the object was
    /// dropped, so that the same operation will fail again.
    pub(crate) fn is_device_lost(&self) -> bool {
        match self {
            Self::Bridge(error) => error.is_device_lost(),
            Self::Vulkan { result, .. } => *result == ash::vk::Result::ERROR_DEVICE_LOST,
            Self::Panicked { .. } | Self::DeviceReplaced { .. } | Self::Dropped { .. } => true,
            Self::NotPresented { source, .. } => source.is_device_lost(),
            Self::InvalidArgument { .. } | Self::WindowsConfigured { .. } | Self::RenderingStopped { .. } => false,
        }
    }

    pub(crate) fn invalid(object: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::InvalidArgument { object: object.into(), reason: reason.into() }
    }

    pub(crate) fn windows_configured(object: &str, limit: Duration) -> Self {
        Self::WindowsConfigured { object: object.to_owned(), limit }
    }

    pub(crate) fn vulkan(object: &str, call: &'static str, result: ash::vk::Result) -> Self {
        Self::Vulkan { object: object.to_owned(), call, result }
    }
}

impl From<bridge::vk_export::Error> for Error {
    fn from(error: bridge::vk_export::Error) -> Self {
        Self::Bridge(error.into())
    }
}

/// Converts the error of a program's own cudarc call, such as a copy or a launch on the stream of
/// [`CudaWork`](bridge::CudaWork).
impl From<bridge::cudarc::driver::DriverError> for Error {
    fn from(error: bridge::cudarc::driver::DriverError) -> Self {
        Self::Bridge(error.into())
    }
}

#[cfg(test)]
mod tests {
    use bridge::cudarc::driver::{DriverError, sys::CUresult};

    use super::*;

    /// `?` converts the errors of cudarc's calls, with their code.
    #[test]
    fn errors_of_cudarc_are_converted() {
        fn copy() -> Result<()> {
            Err(DriverError(CUresult::CUDA_ERROR_INVALID_VALUE))?
        }
        let error = copy();
        assert!(matches!(&error, Err(Error::Bridge(bridge::Error::Cuda(_)))), "{error:?}");
        assert!(error.is_err_and(|error| error.to_string().contains("CUDA_ERROR_INVALID_VALUE")));
    }
}
