//! Conversion of the errors of the crates and of the driver to a [`Fault`], with messages that
//! refer to the Python API.

use bridge::cuda_import;
use bridge::cudarc::driver::DriverError;

use crate::error::{Fault, Kind};
use crate::fork::SPAWN;

/// Converts an error of the bridge to an exception, with a message that refers to the Python API.
pub(crate) fn to_fault(error: bridge::Error) -> Fault {
    match error {
        // Only the turns of a canvas stay open after a call.
        bridge::Error::TurnOpen { .. } => Fault::new(
            Kind::Usage,
            "a frame of the canvas is still open: leave its `with` block before you begin the next frame",
        ),
        bridge::Error::Cuda(error) => driver(error),
        error @ bridge::Error::SlotBusy { .. } => Fault::new(Kind::Usage, error),
        error => Fault::new(Kind::Driver, error),
    }
}

/// Converts the error of a call of CUDA.
pub(crate) fn driver(error: cuda_import::Error) -> Fault {
    match error {
        cuda_import::Error::StreamCaptured { .. } => Fault::captured("a stream"),
        error => Fault::new(Kind::Driver, error),
    }
}

/// Returns a conversion of the error of a driver call, for `map_err`.
pub(crate) fn failed(call: &'static str) -> impl Fn(DriverError) -> Fault {
    move |error| Fault::new(Kind::Driver, format!("{call} failed: {error} ({})", error.0 as u32))
}

/// Adapts the messages to the Python API.
impl From<bridge_view::Error> for Fault {
    fn from(error: bridge_view::Error) -> Self {
        use bridge_view::Error;
        match error {
            Error::Bridge(error) => to_fault(error),
            Error::InvalidArgument { .. } | Error::TooLarge { .. } => Self::new(Kind::Shape, error),
            Error::NothingDrawn => Self::new(Kind::Usage, "nothing has been drawn so far"),
            Error::NoWindow { .. } => Self::new(Kind::Unavailable, error),
            Error::CannotPresent { .. } => {
                Self::new(Kind::Unavailable, format!("{error}; choose another with device=, or pass headless=True"))
            }
            Error::WindowSystem { reason, .. } => {
                let fault = format!("the window system has failed: {reason}; a view with headless=True needs none");
                Self::new(Kind::Driver, fault)
            }
            Error::OtherThread => Self::new(
                Kind::Usage,
                "draw() of a view with a window must be called on the main thread, where the process's events arrive",
            ),
            Error::EventLoopBusy => Self::new(Kind::Usage, error),
            Error::Forked => Self::new(Kind::Usage, format!("{error}: {SPAWN}")),
            _ => Self::new(Kind::Driver, error),
        }
    }
}
