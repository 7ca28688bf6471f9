//! A little Vulkan between the bridge and an example: pipelines, passes, command buffers.
//!
//! It knows one queue, 2D images and dynamic rendering, and leaves out all that no example needs.

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

/// For `map_err`: what failed, on which device.
pub(crate) fn failed(device: &ExportDevice, call: &'static str) -> impl FnOnce(vk::Result) -> Error {
    let name = device.name().to_owned();
    move |result| anyhow!("{call} failed on {name}: {result:?} ({})", result.as_raw())
}

/// Makes sure that the device can do with a shared image of `format` what `what` says, before one
/// is made.
///
/// # Errors
/// What the device cannot do, and what to try instead.
#[allow(unsafe_code)] // Asks the device.
pub fn require(compute: &Compute, format: vk::Format, features: vk::FormatFeatureFlags, what: &str) -> Result<()> {
    let device = compute.device();
    let (instance, physical) = (device.instance(), device.physical().handle);
    // SAFETY: VUID-vkGetPhysicalDeviceFormatProperties-physicalDevice-parameter: the device's own.
    let there = unsafe { instance.get_physical_device_format_properties(physical, format) }.optimal_tiling_features;
    ensure!(
        there.contains(features),
        "{} cannot {what} ({format:?} lacks {:?}); choose another device with --gpu",
        device.name(),
        features & !there,
    );
    Ok(())
}
