//! Errors of this crate.

use vk_export::ExportDevice;
use vk_export::ash::vk;

/// The result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Errors of this crate.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An argument that is invalid for every device, or that this device does not support.
    #[error("{object}: {reason} [{device}]")]
    #[non_exhaustive]
    InvalidArgument {
        /// The object that should be created.
        object: String,
        /// A description of the problem.
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
        /// The object of the call.
        object: String,
        /// The device's name.
        device: String,
    },
}

/// Creates the errors about one object.
pub(crate) struct About<'a> {
    pub(crate) device: &'a ExportDevice,
    pub(crate) object: String,
}

impl About<'_> {
    pub(crate) fn invalid(&self, reason: String) -> Error {
        Error::InvalidArgument { object: self.object.clone(), reason, device: self.device.name().to_owned() }
    }

    /// Returns a closure for `map_err` that describes a failed call.
    pub(crate) fn failed(&self, call: &'static str) -> impl FnOnce(vk::Result) -> Error + '_ {
        move |result| Error::Vulkan { call, result, object: self.object.clone(), device: self.device.name().to_owned() }
    }
}
