//! Errors of this crate.

use vk_export::ExportDevice;
use vk_export::ash::vk;

/// The result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Errors of this crate.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An argument that no driver call could make sense of, or that the device has no such thing
    /// for.
    #[error("{object}: {reason} [{device}]")]
    #[non_exhaustive]
    InvalidArgument {
        /// The object that was to be made.
        object: String,
        /// Description of the problem.
        reason: String,
        /// The device's name.
        device: String,
    },
    /// A Vulkan call failed.
    #[error("{call} failed: {result:?} ({}) [{object}, {device}]", .result.as_raw())]
    #[non_exhaustive]
    Vulkan {
        /// The name of the call.
        call: &'static str,
        /// The driver's code.
        result: vk::Result,
        /// The object that the call was about.
        object: String,
        /// The device's name.
        device: String,
    },
}

/// Makes the errors about one object.
pub(crate) struct About<'a> {
    pub(crate) device: &'a ExportDevice,
    pub(crate) object: String,
}

impl About<'_> {
    pub(crate) fn invalid(&self, reason: String) -> Error {
        Error::InvalidArgument { object: self.object.clone(), reason, device: self.device.name().to_owned() }
    }

    /// For `map_err`: a failed call.
    pub(crate) fn failed(&self, call: &'static str) -> impl FnOnce(vk::Result) -> Error + '_ {
        move |result| Error::Vulkan { call, result, object: self.object.clone(), device: self.device.name().to_owned() }
    }
}
