use bridge::ash::{self, vk};
use bridge::{BufferSpec, RenderTurn, TimelinePoint};

/// Adds a frame to a submission that an engine makes anyway.
///
/// # Safety
/// `commands` uses the frame's buffer only between the turn's barriers. `queue`
/// is the queue of the exchange, and nothing else uses it during the call.
unsafe fn splice(
    vulkan: &ash::Device,
    queue: vk::Queue,
    turn: RenderTurn<BufferSpec<u32>>,
    commands: vk::CommandBuffer,
) -> Result<TimelinePoint, Box<dyn std::error::Error>> {
    let lent = turn.lend()?;
    let parts = lent.parts();

    // An engine would add its own semaphores to these lists.
    let signals = [parts.signal()];
    let buffers =
        [vk::CommandBufferSubmitInfo::default().command_buffer(commands)];
    let batch = vk::SubmitInfo2::default()
        .wait_semaphore_infos(parts.waits())
        .command_buffer_infos(&buffers)
        .signal_semaphore_infos(&signals);
    // SAFETY: the caller upholds the contract.
    match unsafe { vulkan.queue_submit2(queue, &[batch], vk::Fence::null()) } {
        // SAFETY: the parts were submitted successfully.
        Ok(()) => Ok(unsafe { lent.submitted() }),
        Err(error) => {
            // SAFETY: nothing was submitted, and the parts are no longer used.
            unsafe { lent.not_submitted() };
            Err(error.into())
        }
    }
}
