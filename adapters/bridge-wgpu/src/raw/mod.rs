//! wgpu command buffers that contain Vulkan commands.
#![allow(unsafe_code)] // Records through `wgpu::hal`.

use ash::vk;
use wgpu::hal::api::Vulkan;

use crate::device::Bridge;
use crate::error::{Error, Result};
use crate::scope::capture_recording;

/// Records with `record` into a wgpu command buffer that contains nothing else: wgpu rejects
/// encoders with commands of both kinds.
pub(crate) fn record<R>(
    gpu: &Bridge,
    object: &str,
    record: impl FnOnce(vk::CommandBuffer) -> R,
) -> Result<(wgpu::CommandBuffer, R)> {
    record_on(gpu.device(), object, record)
}

/// Like [`record`], for a device that has no `Bridge` yet.
pub(crate) fn record_on<R>(
    device: &wgpu::Device,
    object: &str,
    record: impl FnOnce(vk::CommandBuffer) -> R,
) -> Result<(wgpu::CommandBuffer, R)> {
    let recorded = capture_recording(device, object, || {
        let descriptor = wgpu::CommandEncoderDescriptor { label: Some("hand-over") };
        let mut encoder = device.create_command_encoder(&descriptor);
        let handle = |hal: Option<&mut wgpu::hal::vulkan::CommandEncoder>| {
            // SAFETY: the handle is recorded into, but not destroyed or kept.
            hal.map(|hal| record(unsafe { hal.raw_handle() }))
        };
        // SAFETY: the encoder has no other use.
        let result = unsafe { encoder.as_hal_mut::<Vulkan, _, _>(handle) };
        result.map(|result| (encoder.finish(), result))
    })?;
    recorded.ok_or_else(|| Error::DeviceLost { object: object.to_owned() })
}

/// Calls `record` with the Vulkan buffer, which lives until `record` returns; `None` if the buffer
/// is destroyed. Another thread that destroys it in the meantime waits, because wgpu immediately
/// frees resources that no submission uses.
///
/// `record` must not call wgpu. This function may be called inside [`record`], because wgpu takes
/// these locks in that order, but not inside itself.
///
/// # Safety
/// `record` does not destroy the buffer.
pub(crate) unsafe fn with_buffer<R>(buffer: &wgpu::Buffer, record: impl FnOnce(vk::Buffer) -> R) -> Option<R> {
    // SAFETY: the guard is only read.
    let hal = unsafe { buffer.as_hal::<Vulkan>() }?;
    // SAFETY: the caller upholds the contract.
    let result = record(unsafe { hal.raw_handle() });
    // Holds wgpu's lock on destruction until here.
    drop(hal);
    Some(result)
}

/// Like [`with_buffer`], for the image of a texture.
///
/// # Safety
/// `record` does not destroy the image.
pub(crate) unsafe fn with_image<R>(texture: &wgpu::Texture, record: impl FnOnce(vk::Image) -> R) -> Option<R> {
    // SAFETY: the guard is only read.
    let hal = unsafe { texture.as_hal::<Vulkan>() }?;
    // SAFETY: the caller upholds the contract.
    let result = record(unsafe { hal.raw_handle() });
    // As for a buffer.
    drop(hal);
    Some(result)
}

#[cfg(test)]
mod tests;
