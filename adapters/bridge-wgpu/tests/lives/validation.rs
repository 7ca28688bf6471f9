//! The negative control of each check that the validation layer has reported nothing.
#![allow(unsafe_code, clippy::unwrap_used)] // A test; records through `wgpu::hal`.

use ash::vk;
use bridge_wgpu::{Backend, wgpu};
use test_support::Need;
use wgpu::hal::api::Vulkan;

use crate::support::{alone, bridge_on, forget_messages, has_layer, validation_messages};

/// A fill of a buffer that was created without the usage for it, in a command buffer of wgpu's, is
/// among the messages that the other tests do not expect.
#[test]
fn an_incorrect_command_is_among_the_messages() {
    const FORBIDDEN: &str = "VUID-vkCmdFillBuffer-dstBuffer-00029";
    let _alone = alone();
    if !has_layer() {
        return test_support::skip(Need::Other, "the validation layer is not installed");
    }
    let bridge = bridge_on(Backend::Host).unwrap();
    assert_eq!(validation_messages(), [""; 0]);

    let mut commands = bridge.device().create_command_encoder(&Default::default());
    // SAFETY: the guard is only read.
    let device = unsafe { bridge.device().as_hal::<Vulkan>() }.unwrap();
    // wgpu's own buffers can all be filled.
    let info = vk::BufferCreateInfo::default().size(16).usage(vk::BufferUsageFlags::VERTEX_BUFFER);
    // SAFETY: destroyed below, by the device that created it.
    let buffer = unsafe { device.raw_device().create_buffer(&info, None) }.unwrap();
    // SAFETY: the handle is not used after the encoder's end.
    let handle = |commands: Option<&mut wgpu::hal::vulkan::CommandEncoder>| unsafe { commands.unwrap().raw_handle() };
    // SAFETY: the command buffer is only recorded to.
    let raw = unsafe { commands.as_hal_mut::<Vulkan, _, _>(handle) };
    // SAFETY: the command buffer is recording. The fill is not allowed, and is never submitted.
    unsafe { device.raw_device().cmd_fill_buffer(raw, buffer, 0, 16, 0) };
    drop(commands);
    // SAFETY: created above; no command buffer that uses it is pending.
    unsafe { device.raw_device().destroy_buffer(buffer, None) };
    let messages = validation_messages();
    forget_messages();
    assert!(messages.iter().any(|line| line.contains(FORBIDDEN)), "{messages:?}");
}
