//! Errors of the adapter.

use std::time::Duration;

use ash::vk;

/// The result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Errors of the adapter.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bridge, or one of the two sides below it, failed.
    #[error(transparent)]
    Bridge(#[from] bridge::Error),

    /// The adapter or device uses another backend of wgpu.
    #[error(
        "\"{adapter}\" is on wgpu's {backend:?} backend, and only Vulkan shares with CUDA: make the instance with \
         `Backends::VULKAN`"
    )]
    #[non_exhaustive]
    NotVulkan {
        /// The adapter's name.
        adapter: String,
        /// Its backend.
        backend: wgpu::Backend,
    },

    /// The device, or the way it was created, lacks something that sharing needs.
    #[error("\"{device}\" lacks, for {purpose}: {}", .missing.join(", "))]
    #[non_exhaustive]
    Missing {
        /// The device's name.
        device: String,
        /// The component that needs it.
        purpose: &'static str,
        /// Everything that is missing.
        missing: Vec<String>,
    },

    /// The device could not be created.
    #[error("wgpu cannot create the device \"{adapter}\": {reason}")]
    #[non_exhaustive]
    RequestDevice {
        /// The adapter's name.
        adapter: String,
        /// wgpu's message.
        reason: String,
    },

    /// wgpu refused a call. Nothing was submitted.
    #[error("{object}: wgpu refused {call}: {source}")]
    #[non_exhaustive]
    Refused {
        /// The object of the call.
        object: String,
        /// The call.
        call: &'static str,
        /// wgpu's error.
        source: wgpu::Error,
    },

    /// wgpu reported an error during a submission and did not say whether it submitted: the error
    /// may come from a callback that wgpu called afterward.
    #[error(
        "{object}: wgpu reported an error during the submission, which may have been made; its frames are lost, and the \
         next `begin` or `newest` recovers their slots: {source}"
    )]
    #[non_exhaustive]
    Unconfirmed {
        /// The object that should be submitted.
        object: String,
        /// wgpu's error.
        source: wgpu::Error,
    },

    /// wgpu's device is lost or was destroyed, so that it accepts no submissions.
    #[error(
        "{object}: wgpu's device takes no submissions: it is lost or was destroyed; drop its exchanges and each `Bridge` of \
         it, and request another device"
    )]
    #[non_exhaustive]
    DeviceLost {
        /// The object that should be submitted.
        object: String,
    },

    /// The signal after frames for which wgpu did not report whether they were submitted did not
    /// arrive within the limit, or the device is lost.
    #[error("{object}: vkWaitSemaphores failed: {result:?} ({}){}", .result.as_raw(), advice(*.result, *.limit))]
    #[non_exhaustive]
    HostWait {
        /// The exchange.
        object: String,
        /// The driver's result code; `TIMEOUT` if the limit has passed.
        result: vk::Result,
        /// The limit.
        limit: Duration,
    },

    /// An invalid argument.
    #[error("{object}: {reason}")]
    #[non_exhaustive]
    InvalidArgument {
        /// The object that should be created or used.
        object: String,
        /// A description of the problem.
        reason: String,
    },
}

impl Error {
    /// Returns the same error for a submission that may have been made.
    pub(crate) fn unconfirmed(self) -> Self {
        match self {
            Self::Refused { object, source, .. } => Self::Unconfirmed { object, source },
            other => other,
        }
    }

    /// Logs this as an error of something other than the submission, which was made, for example of
    /// a callback.
    pub(crate) fn log_as_foreign(&self) {
        let source: &dyn std::fmt::Display = match self {
            Self::Refused { source, .. } => source,
            other => other,
        };
        log::error!("wgpu reported an error, such as that of a callback, during a submission that was made: {source}");
    }

    pub(crate) fn invalid(object: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::InvalidArgument { object: object.into(), reason: reason.into() }
    }
}

/// Returns the cause of a failed wait, and what to do.
fn advice(result: vk::Result, limit: Duration) -> String {
    match result {
        vk::Result::TIMEOUT => format!(
            "; the queue has not finished earlier frames within {limit:?}: call `begin` again if they are only slow, or drop \
             the exchange if a kernel never ends"
        ),
        vk::Result::ERROR_DEVICE_LOST => {
            "; drop the exchanges of the device and each `Bridge` of it, and request another device".to_owned()
        }
        _ => String::new(),
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

    #[test]
    fn errors_say_what_to_do() {
        let wait =
            |result| Error::HostWait { object: "points".into(), result, limit: Duration::from_secs(5) }.to_string();
        let text = wait(vk::Result::TIMEOUT);
        assert!(text.contains("TIMEOUT (2)") && text.contains("within 5s: call `begin` again"), "{text}");
        let text = wait(vk::Result::ERROR_DEVICE_LOST);
        assert!(text.contains("(-4)") && text.contains("request another device"), "{text}");
        let text = Error::DeviceLost { object: "points".into() }.to_string();
        assert!(text.contains("request another device"), "{text}");
        let source = wgpu::Error::Validation { source: "cause".into(), description: "cause".into() };
        let text = Error::Unconfirmed { object: "points".into(), source }.to_string();
        assert!(text.contains("`newest` recovers their slots"), "{text}");
    }

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
