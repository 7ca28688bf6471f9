//! The negative control of each check that the log has no errors.
#![allow(unsafe_code, clippy::unwrap_used)] // A test; records through `wgpu::hal`.

use ash::vk;
use bevy::render::RenderApp;
use bevy::render::renderer::RenderDevice;
use bevy_vk_cuda::CudaPlugin;
use test_support::Need;
use wgpu::hal::api::Vulkan;

use crate::support::*;

/// A fill of a buffer that was created without the usage for it, in a command buffer of wgpu's, is
/// among the errors that the other tests do not expect.
#[test]
fn an_incorrect_command_is_among_the_errors() {
    const FORBIDDEN: &str = "VUID-vkCmdFillBuffer-dstBuffer-00029";
    let _alone = alone();
    if !has_layer() {
        return test_support::skip(Need::Other, NO_LAYER);
    }
    forget_errors();
    let app = app(CudaPlugin::upload());
    let device = app.sub_app(RenderApp).world().resource::<RenderDevice>().wgpu_device().clone();
    assert_eq!(errors(), [""; 0]);

    let mut commands = device.create_command_encoder(&Default::default());
    // SAFETY: the guard is only read.
    let hal = unsafe { device.as_hal::<Vulkan>() }.unwrap();
    let info = vk::BufferCreateInfo::default().size(16).usage(vk::BufferUsageFlags::VERTEX_BUFFER);
    // SAFETY: destroyed below, by the device that created it.
    let buffer = unsafe { hal.raw_device().create_buffer(&info, None) }.unwrap();
    // SAFETY: the handle is not used after the encoder's end.
    let handle = |commands: Option<&mut wgpu::hal::vulkan::CommandEncoder>| unsafe { commands.unwrap().raw_handle() };
    // SAFETY: the command buffer is only recorded to.
    let raw = unsafe { commands.as_hal_mut::<Vulkan, _, _>(handle) };
    // SAFETY: the command buffer is recording. The fill is not allowed, and is never submitted.
    unsafe { hal.raw_device().cmd_fill_buffer(raw, buffer, 0, 16, 0) };
    drop(commands);
    // SAFETY: created above; no command buffer that uses it is pending.
    unsafe { hal.raw_device().destroy_buffer(buffer, None) };
    let errors = errors();
    forget_errors();
    assert!(errors.iter().any(|line| line.starts_with("ERROR") && line.contains(FORBIDDEN)), "{errors:?}");
}
