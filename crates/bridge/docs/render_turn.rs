use bridge::ash::vk;
use bridge::{BufferSpec, ExportDevice, RenderTurn, TimelinePoint};

/// Clears the frame's buffer in a command buffer that the program is recording.
///
/// # Safety
/// `commands` is recording for the family of the turn's queue, outside a render
/// pass, and is neither freed nor recorded again before the point is reached.
unsafe fn clear(
    device: &ExportDevice,
    turn: RenderTurn<BufferSpec<u32>>,
    commands: vk::CommandBuffer,
) -> Result<TimelinePoint, Box<dyn std::error::Error>> {
    let vulkan = device.as_raw();
    let buffer = turn.resources().as_raw();
    // SAFETY: the caller upholds the contract; the buffer was created with
    // `BufferAccess::TRANSFER_WRITE`, and is only used between the barriers.
    unsafe {
        turn.record_acquire(commands);
        vulkan.cmd_fill_buffer(commands, buffer, 0, vk::WHOLE_SIZE, 7);
        turn.record_release(commands);
        vulkan.end_command_buffer(commands)?;
        Ok(turn.submit(&[commands])?)
    }
}
