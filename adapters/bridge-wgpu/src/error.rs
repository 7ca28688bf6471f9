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

    /// The adapter or device is of another backend of wgpu.
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

    /// The device, or the way it was created, lacks what sharing needs.
    #[error("\"{device}\" lacks, for {purpose}: {}", .missing.join(", "))]
    #[non_exhaustive]
    Missing {
        /// The device's name.
        device: String,
        /// Component that needs it.
        purpose: &'static str,
        /// All that is missing.
        missing: Vec<String>,
    },

    /// The device could not be created.
    #[error("wgpu cannot create the device \"{adapter}\": {reason}")]
    #[non_exhaustive]
    RequestDevice {
        /// The adapter's name.
        adapter: String,
        /// Message of wgpu.
        reason: String,
    },

    /// wgpu refused a call. Nothing of it was submitted.
    #[error("{object}: wgpu refused {call}: {source}")]
    #[non_exhaustive]
    Refused {
        /// Object of the call.
        object: String,
        /// The call.
        call: &'static str,
        /// Message of wgpu.
        source: wgpu::Error,
    },

    /// wgpu reported an error during a submission and did not say whether it submitted: the error
    /// may be that of a callback which wgpu called afterwards.
    #[error("{object}: wgpu reported an error during the submission, which may have been made: {source}")]
    #[non_exhaustive]
    Unconfirmed {
        /// Object that was to be submitted.
        object: String,
        /// Message of wgpu.
        source: wgpu::Error,
    },

    /// wgpu's device is lost, or was destroyed, so that it takes no submissions.
    #[error("{object}: wgpu's device takes no submissions: it is lost or was destroyed")]
    #[non_exhaustive]
    DeviceLost {
        /// Object that was to be submitted.
        object: String,
    },

    /// The signal behind frames of which wgpu did not tell whether they were submitted did not come
    /// within the limit, or the device is lost.
    #[error("{object}: vkWaitSemaphores failed after {limit:?} at most: {result:?}")]
    #[non_exhaustive]
    HostWait {
        /// The exchange.
        object: String,
        /// The driver's code; `TIMEOUT` where the limit has passed.
        result: ash::vk::Result,
        /// The limit.
        limit: std::time::Duration,
    },

    /// An argument that cannot be.
    #[error("{object}: {reason}")]
    #[non_exhaustive]
    InvalidArgument {
        /// The object that was to be made or used.
        object: String,
        /// Description of the problem.
        reason: String,
    },
}

impl Error {
    /// The same error of a submission of which it is unknown whether it was made.
    pub(crate) fn unconfirmed(self) -> Self {
        match self {
            Self::Refused { object, source, .. } => Self::Unconfirmed { object, source },
            other => other,
        }
    }

    /// Logs this as an error of something else than the submission, which was made: of a callback,
    /// for example.
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

impl From<bridge::vk_export::Error> for Error {
    fn from(error: bridge::vk_export::Error) -> Self {
        Self::Bridge(error.into())
    }
}
