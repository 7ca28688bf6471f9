//! Errors of a view.

use bridge::ExportDevice;
use bridge::ash::vk;
use bridge::cudarc::driver::DriverError;

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A call of the bridge failed, such as beginning, submitting or waiting for a frame.
    #[error(transparent)]
    Bridge(#[from] bridge::Error),

    /// Memory for the view's own objects could not be allocated.
    #[error(transparent)]
    Memory(#[from] vk_local::Error),

    /// A Vulkan call failed.
    #[error("{call} failed: {result:?} ({}) [{device}]", .result.as_raw())]
    #[non_exhaustive]
    Vulkan {
        /// The name of the call.
        call: &'static str,
        /// The error code of the driver.
        result: vk::Result,
        /// The device's name.
        device: String,
    },

    /// An argument is invalid.
    #[error("{object}: {reason}")]
    #[non_exhaustive]
    InvalidArgument {
        /// The object that was to be created, shown or written.
        object: String,
        /// Description of the problem.
        reason: String,
    },

    /// An object has more bytes than the device's shaders can read at once.
    #[error("{object} takes {size} bytes, but {device} reads at most {limit} at once (maxStorageBufferRange)")]
    #[non_exhaustive]
    TooLarge {
        /// The object.
        object: String,
        /// Size of the object in bytes.
        size: u64,
        /// Maximum size in bytes.
        limit: u64,
        /// The device's name.
        device: String,
    },

    /// The picture cannot be copied, since nothing has been drawn.
    #[error("nothing has been drawn so far; show a frame and call `View::draw` first")]
    NothingDrawn,

    /// Commands of the view did not end in time, and may still use its picture.
    #[error("commands of the view did not finish within its timeout, so it can no longer draw; create another view")]
    Stuck,

    /// A picture could not be encoded or written.
    #[error("the picture cannot be written: {reason}")]
    #[non_exhaustive]
    File {
        /// Reason, with the file's name, if any.
        reason: String,
    },

    /// No window can be opened on this system.
    #[error("no window can be opened: {reason}")]
    #[non_exhaustive]
    NoWindow {
        /// Reason.
        reason: String,
    },

    /// The device cannot show pictures in the window.
    #[error("{device} cannot show pictures in this window: {reason}")]
    #[non_exhaustive]
    CannotPresent {
        /// The device's name.
        device: String,
        /// The missing feature, or the error of the failed driver call.
        reason: String,
    },

    /// A call to the window system failed.
    #[error("the window system has failed: {reason}; a view without a window needs none")]
    #[non_exhaustive]
    WindowSystem {
        /// The message of the window system's library.
        reason: String,
    },

    /// The surface of the window was lost several times in a row.
    #[error("the surface of the window was lost {times} times in a row")]
    #[non_exhaustive]
    SurfaceLost {
        /// The number of times.
        times: u32,
    },

    /// Events were polled on a thread other than that of the windows.
    #[error("events of windows arrive on the thread that opened the first one; draw and poll there")]
    OtherThread,

    /// Events were polled while events are being handled.
    #[error("the event loop of the windows is already being pumped")]
    EventLoopBusy,

    /// This process was forked from one with windows.
    #[error("this process was forked from one with windows, whose connection to the display it must not use")]
    Forked,
}

impl From<DriverError> for Error {
    fn from(error: DriverError) -> Self {
        Self::Bridge(error.into())
    }
}

impl Error {
    /// Returns `true` if the device of either side is lost: nothing can be drawn on it, and a new
    /// view needs a new device.
    pub fn is_device_lost(&self) -> bool {
        match self {
            Self::Bridge(error) => error.is_device_lost(),
            Self::Vulkan { result, .. } | Self::Memory(vk_local::Error::Vulkan { result, .. }) => {
                *result == vk::Result::ERROR_DEVICE_LOST
            }
            _ => false,
        }
    }

    /// Returns `true` if the Vulkan device is lost: none of its commands runs any more, and the
    /// objects that they used may be freed (Vulkan specification, "Lost Device").
    pub(crate) fn is_end_of_vulkan(&self) -> bool {
        match self {
            Self::Bridge(bridge::Error::Vulkan(error)) => error.is_device_lost(),
            Self::Bridge(_) => false,
            other => other.is_device_lost(),
        }
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

/// Returns a conversion for `map_err` that adds the name of the call.
pub(crate) fn failed<'a>(device: &'a ExportDevice, call: &'static str) -> impl Fn(vk::Result) -> Error + use<'a> {
    move |result| Error::Vulkan { call, result, device: device.name().to_owned() }
}
