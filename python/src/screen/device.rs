//! The choice of a view's GPU.

use bridge::cuda_import::report;
use bridge::{Backend, Compute, DeviceSelector, OpenInfo};

use crate::error::{Fault, Kind};

/// Parses the `device` of a view: `cuda:1` is a device of CUDA, and `cuda` is `cuda:0`. Other texts
/// are a number of Vulkan's, a UUID or a part of a name.
pub(super) fn selector(text: &str) -> Result<DeviceSelector, Fault> {
    let ordinal = match text.strip_prefix("cuda") {
        Some("") => "0",
        Some(rest) if rest.starts_with(':') => &rest[1..],
        // Parsing cannot fail: text that is neither a number nor a UUID is a name.
        _ => return Ok(text.parse().unwrap_or(DeviceSelector::Best)),
    };
    let refused = |reason: String| Fault::new(Kind::Unavailable, format!("device=\"{text}\": {reason}"));
    let devices = report().map_err(|error| refused(error.to_string()))?.devices;
    let chosen = devices.iter().find(|device| device.ordinal.to_string() == ordinal);
    let present = || refused(format!("CUDA sees {} devices, numbered from 0", devices.len()));
    chosen.map(|device| DeviceSelector::Uuid(device.uuid)).ok_or_else(present)
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
