//! The choice of a view's GPU.

use std::str::FromStr;

use bridge::cuda_import::report;
use bridge::{Backend, Compute, DeviceSelector, OpenInfo};

use crate::error::{Fault, Kind};

/// The `device` of a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A device of CUDA, by its ordinal.
    Cuda(i64),
    /// A device of Vulkan; [`DeviceSelector::Best`] by default.
    Vulkan(DeviceSelector),
}

impl Wanted {
    /// Parses the text of a `device` and combines it with the `backend`. `"cuda:1"` and `"1"` are a
    /// device of CUDA, as in torch, and `"cuda"` is `"cuda:0"`. `"cpu"` is the CPU backend on the
    /// best device. `"vulkan:1"` is a device by its index in Vulkan. All other texts are a UUID or
    /// a part of a name.
    ///
    /// # Errors
    /// Description of the contradiction, or of the malformed number.
    pub(crate) fn parse(text: &str, backend: Backend) -> Result<(Self, Backend), String> {
        let (kind, rest) = text.split_once(':').map_or((text, None), |(kind, rest)| (kind, Some(rest)));
        let wanted = match (kind, rest) {
            ("cuda", None) => Self::Cuda(0),
            ("cuda", Some(ordinal)) => Self::Cuda(parsed(ordinal, "a number")?),
            ("vulkan", Some(index)) => {
                Self::Vulkan(DeviceSelector::Index(parsed(index, "an index, which is a number from 0")?))
            }
            ("cpu", None | Some("0")) if backend == Backend::Cuda => {
                return Err("tensors of the backend \"cuda\" are not in host memory".to_owned());
            }
            ("cpu", None | Some("0")) => return Ok((Self::Vulkan(DeviceSelector::Best), Backend::Host)),
            // Parsing cannot fail: text that is neither a number nor a UUID is a name.
            _ => match text.parse() {
                Ok(ordinal) => Self::Cuda(ordinal),
                Err(_) => Self::Vulkan(text.parse().unwrap_or(DeviceSelector::Best)),
            },
        };
        Ok((wanted, backend))
    }

    /// Returns the selector of the device. Asks the CUDA driver for the UUID of a device of CUDA.
    pub(super) fn selector(&self) -> Result<DeviceSelector, Fault> {
        let ordinal = match self {
            Self::Cuda(ordinal) => *ordinal,
            Self::Vulkan(selector) => return Ok(selector.clone()),
        };
        let refused = |reason: String| {
            let advice = "device=\"vulkan:N\" selects a device by its index N in Vulkan";
            Fault::new(Kind::Unavailable, format!("device=\"cuda:{ordinal}\": {reason}; {advice}"))
        };
        let devices = report().map_err(|error| refused(error.to_string()))?.devices;
        let chosen = devices.iter().find(|device| i64::try_from(device.ordinal) == Ok(ordinal));
        let present = || refused(format!("CUDA sees {} devices, numbered from 0", devices.len()));
        chosen.map(|device| DeviceSelector::Uuid(device.uuid)).ok_or_else(present)
    }
}

/// Parses the number of a device. `what` describes it for the error.
fn parsed<T: FromStr>(text: &str, what: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is not {what}"))
}

/// Opens the device and its compute side. Unless a device is selected, one that CUDA sees is
/// preferred.
pub(super) fn open(info: &OpenInfo<'_>, backend: Backend) -> Result<Compute, Fault> {
    Compute::open(info, backend).map_err(|error| match error {
        // The error message refers to Rust's API, so the Python equivalent is added.
        bridge::Error::NoCuda { .. } => Fault::new(
            Kind::Unavailable,
            format!("{error}; in Python, device= chooses another GPU, and backend=\"host\" computes on the CPU"),
        ),
        error => Fault::new(Kind::Unavailable, error),
    })
}
