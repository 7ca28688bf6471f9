//! Command buffers of wgpu that hold Vulkan's own commands.
#![allow(unsafe_code)] // Records through `wgpu::hal`.

use ash::vk;
use wgpu::hal::api::Vulkan;

use crate::device::Bridge;
use crate::error::{Error, Result};

/// Records with `record` into a command buffer of wgpu's that holds nothing else: wgpu refuses
/// encoders with commands of both kinds.
pub(crate) fn record<R>(
    gpu: &Bridge,
    object: &str,
    record: impl FnOnce(vk::CommandBuffer) -> R,
) -> Result<(wgpu::CommandBuffer, R)> {
    let recorded = gpu.capture("CommandEncoder::finish", object, || {
        let descriptor = wgpu::CommandEncoderDescriptor { label: Some("hand-over") };
        let mut encoder = gpu.device().create_command_encoder(&descriptor);
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

/// The buffer of Vulkan's; `None` where it was destroyed.
///
/// # Safety
/// It is not destroyed.
pub(crate) unsafe fn handle(buffer: &wgpu::Buffer) -> Option<vk::Buffer> {
    // SAFETY: the guard is only read from, and gone before the buffer is used.
    let hal = unsafe { buffer.as_hal::<Vulkan>() }?;
    // SAFETY: the caller's promise.
    Some(unsafe { hal.raw_handle() })
}
