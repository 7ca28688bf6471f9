use bridge::ash::{self, vk};
use bridge::{BufferSpec, RenderTurn, TimelinePoint};

/// Makes a frame part of a submission that an engine makes anyway.
///
/// # Safety
/// `commands` uses the frame's buffer between the turn's barriers only, and the
/// queue is the exchange's, which nobody else uses meanwhile.
unsafe fn splice(
    vulkan: &ash::Device,
    queue: vk::Queue,
    turn: RenderTurn<BufferSpec<u32>>,
    commands: vk::CommandBuffer,
) -> Result<TimelinePoint, Box<dyn std::error::Error>> {
    let lent = turn.lend()?;
    let parts = lent.parts();

    // The engine's own semaphores would be in these lists too.
    let signals = [parts.signal()];
    let buffers =
        [vk::CommandBufferSubmitInfo::default().command_buffer(commands)];
    let batch = vk::SubmitInfo2::default()
        .wait_semaphore_infos(parts.waits())
        .command_buffer_infos(&buffers)
        .signal_semaphore_infos(&signals);
    // SAFETY: the caller's promise.
    match unsafe { vulkan.queue_submit2(queue, &[batch], vk::Fence::null()) } {
        // SAFETY: the parts went into a submission that was accepted.
        Ok(()) => Ok(unsafe { lent.submitted() }),
        Err(error) => {
            // SAFETY: nothing was submitted, and the parts are gone.
            unsafe { lent.not_submitted() };
            Err(error.into())
        }
    }
}
