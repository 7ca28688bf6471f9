//! Command buffers of wgpu that hold Vulkan's own commands.
#![allow(unsafe_code)] // Records through `wgpu::hal`.

use ash::vk;
use wgpu::hal::api::Vulkan;

use crate::device::Bridge;
use crate::error::{Error, Result};
use crate::scope::capture_recording;

/// Records with `record` into a command buffer of wgpu's that holds nothing else: wgpu refuses
/// encoders with commands of both kinds.
pub(crate) fn record<R>(
    gpu: &Bridge,
    object: &str,
    record: impl FnOnce(vk::CommandBuffer) -> R,
) -> Result<(wgpu::CommandBuffer, R)> {
    record_on(gpu.device(), object, record)
}

/// [`record`] for a device that has no `Bridge` yet.
pub(crate) fn record_on<R>(
    device: &wgpu::Device,
    object: &str,
    record: impl FnOnce(vk::CommandBuffer) -> R,
) -> Result<(wgpu::CommandBuffer, R)> {
    let recorded = capture_recording(device, object, || {
        let descriptor = wgpu::CommandEncoderDescriptor { label: Some("hand-over") };
        let mut encoder = device.create_command_encoder(&descriptor);
        let handle = |hal: Option<&mut wgpu::hal::vulkan::CommandEncoder>| {
            // SAFETY: recorded into, not destroyed, and not kept.
            hal.map(|hal| record(unsafe { hal.raw_handle() }))
        };
        // SAFETY: the encoder is used for nothing else.
        let result = unsafe { encoder.as_hal_mut::<Vulkan, _, _>(handle) };
        result.map(|result| (encoder.finish(), result))
    })?;
    recorded.ok_or_else(|| Error::DeviceLost { object: object.to_owned() })
}

/// Calls `record` with Vulkan's buffer, which lives until that returns; `None` where it was
/// destroyed. Another thread that destroys it meanwhile waits: wgpu frees at once what no
/// submission uses.
///
/// `record` calls nothing of wgpu's. It may be called inside [`record`], as wgpu takes these
/// locks in that order, and not inside of itself.
///
/// # Safety
/// `record` does not destroy it.
pub(crate) unsafe fn with_buffer<R>(buffer: &wgpu::Buffer, record: impl FnOnce(vk::Buffer) -> R) -> Option<R> {
    // SAFETY: the guard is only read from.
    let hal = unsafe { buffer.as_hal::<Vulkan>() }?;
    // SAFETY: the caller's promise.
    let result = record(unsafe { hal.raw_handle() });
    // Holds wgpu's lock on what is destroyed until here.
    drop(hal);
    Some(result)
}

/// [`with_buffer`] for the image of a texture.
///
/// # Safety
/// As [`with_buffer`].
pub(crate) unsafe fn with_image<R>(texture: &wgpu::Texture, record: impl FnOnce(vk::Image) -> R) -> Option<R> {
    // SAFETY: the guard is only read from.
    let hal = unsafe { texture.as_hal::<Vulkan>() }?;
    // SAFETY: the caller's promise.
    let result = record(unsafe { hal.raw_handle() });
    // As for a buffer.
    drop(hal);
    Some(result)
}

#[cfg(test)]
mod tests;
