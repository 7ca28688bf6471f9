//! A little Vulkan between the bridge and an example: pipelines, passes, command buffers, a swapchain.
//!
//! It knows one queue, 2D colour images and dynamic rendering, and leaves out all that no example needs.

pub mod commands;
pub mod pipeline;
pub mod recorder;
pub mod rendering;
pub mod swapchain;

use anyhow::{Error, anyhow};
use bridge::ExportDevice;
use bridge::ash::vk;

/// For `map_err`: what failed, on which device.
pub(crate) fn failed(device: &ExportDevice, call: &'static str) -> impl FnOnce(vk::Result) -> Error {
    let name = device.name().to_owned();
    move |result| anyhow!("{call} failed on {name}: {result:?} ({})", result.as_raw())
}
