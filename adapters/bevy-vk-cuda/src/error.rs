//! Errors of the adapter.

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
        /// The driver's code.
        result: ash::vk::Result,
    },

    /// A closure that computed a frame on the CPU has panicked.
    #[error("{object}: a closure that computed a frame has panicked; remove it and make another")]
    #[non_exhaustive]
    Panicked {
        /// The image or buffer that the frame belongs to.
        object: String,
    },

    /// An argument that cannot be.
    #[error("{object}: {reason}")]
    #[non_exhaustive]
    InvalidArgument {
        /// The object that was to be made or used.
        object: String,
        /// The reason.
        reason: String,
    },
}

impl Error {
    pub(crate) fn invalid(object: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::InvalidArgument { object: object.into(), reason: reason.into() }
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
