//! A thin Vulkan layer between the bridge and the examples: pipelines, passes, command buffers.
//!
//! It supports one queue, 2D images and dynamic rendering, which is all that the examples need.

pub mod commands;
mod copier;
pub mod depth;
pub mod output;
pub mod pipeline;
pub mod recorder;
pub mod rendering;

use anyhow::{Error, Result, anyhow, ensure};
use bridge::ash::vk;
use bridge::{Compute, ExportDevice};

/// Returns a closure for `map_err` that names the failed call and the device.
pub(crate) fn failed(device: &ExportDevice, call: &'static str) -> impl FnOnce(vk::Result) -> Error {
    let name = device.name().to_owned();
    move |result| anyhow!("{call} failed on {name}: {result:?} ({})", result.as_raw())
}

/// Checks that the device supports `features` for images of `format`, before a shared image is
/// created. `what` describes the use for the error.
///
/// # Errors
/// A missing feature of the device, with advice.
#[allow(unsafe_code)] // Asks the device.
pub fn require(compute: &Compute, format: vk::Format, features: vk::FormatFeatureFlags, what: &str) -> Result<()> {
    let device = compute.device();
    let (instance, physical) = (device.instance(), device.physical().handle);
    // SAFETY: VUID-vkGetPhysicalDeviceFormatProperties-physicalDevice-parameter: the physical
    // device of this device.
    let there = unsafe { instance.get_physical_device_format_properties(physical, format) }.optimal_tiling_features;
    ensure!(
        there.contains(features),
        "{} cannot {what} ({format:?} lacks {:?}); choose another device with --gpu",
        device.name(),
        features & !there,
    );
    Ok(())
}
