//! The submission of a frame.
#![allow(unsafe_code)] // Submitting.

pub(crate) mod parts;

use smallvec::SmallVec;
use vk_export::ash::vk;

use super::mirror::Mirror;
use super::state::State;
use crate::error::Result;
use crate::resources::Resources;
use crate::timeline::{BorrowedPoint, Timeline};

/// Number of command buffers and semaphores of a frame that need no heap allocation.
const INLINE_CAPACITY: usize = 16;

/// Configuration of a frame's submission.
#[derive(Debug, Clone, Copy, Default)]
pub struct SubmitInfo<'a> {
    /// The command buffers, in order.
    pub commands: &'a [vk::CommandBuffer],
    /// Further semaphores to wait for, such as a swapchain image's. Default: none.
    pub waits: &'a [vk::SemaphoreSubmitInfo<'a>],
    /// Further semaphores to signal, such as the one that presenting waits for. Default: none.
    pub signals: &'a [vk::SemaphoreSubmitInfo<'a>],
    /// A fence to signal. Default: none.
    pub fence: vk::Fence,
}

/// Returns the signal of a value of `rendered`, after all commands before it.
pub(super) fn rendered_info(rendered: &Timeline, value: u64) -> vk::SemaphoreSubmitInfo<'static> {
    let signal = vk::SemaphoreSubmitInfo::default().semaphore(rendered.semaphore().as_raw()).value(value);
    signal.stage_mask(vk::PipelineStageFlags2::ALL_COMMANDS)
}

impl<R: Resources> State<R> {
    /// Submits a frame's commands to the exchange's queue, with waits for the points in `after` and
    /// the signal of `value` of `rendered`.
    ///
    /// # Safety
    /// As [`RenderTurn::submit_with`](super::RenderTurn::submit_with); `value` is the next value of
    /// `rendered`, none is lent, and the lock of [`lock_submissions`](Self::lock_submissions) is
    /// held from before `value` was taken until it is issued.
    pub(super) unsafe fn submit_batch(
        &self,
        after: &[BorrowedPoint<'_>],
        value: u64,
        info: &SubmitInfo<'_>,
    ) -> Result<()> {
        // After the compute side's part on the same queue, the turn's barriers are enough.
        let in_queue = self.compute.side().waits_in_queue();
        // On any other side, no work is pending that would have to be submitted before the wait.
        let waits_for = if in_queue { &[] } else { after };
        let mut wait: SmallVec<[_; 2]> = SmallVec::new();
        for point in waits_for {
            wait.push(point.submitted_wait(self.stages));
        }
        let signal = [self.first_signal(value)];
        if let ([buffer], [], []) = (info.commands, info.waits, info.signals) {
            let commands = [vk::CommandBufferSubmitInfo::default().command_buffer(*buffer)];
            // SAFETY: upheld by the caller.
            return unsafe { self.submit_lists(&commands, &wait, &signal, value, info.fence) };
        }
        // SAFETY: upheld by the caller.
        unsafe { self.submit_joined(&wait, &signal, value, info) }
    }

    /// Submits a frame that has semaphores of the program, or any number of command buffers.
    ///
    /// Not inlined: its lists take kilobytes of stack, below which the driver would run on stack
    /// memory that is not in the cache.
    ///
    /// # Safety
    /// As [`submit_batch`](Self::submit_batch), with `wait` and `signal` for the frame's own
    /// points.
    #[inline(never)]
    unsafe fn submit_joined(
        &self,
        wait: &[vk::SemaphoreSubmitInfo<'_>],
        signal: &[vk::SemaphoreSubmitInfo<'_>],
        value: u64,
        info: &SubmitInfo<'_>,
    ) -> Result<()> {
        let mut commands: SmallVec<[_; INLINE_CAPACITY]> = SmallVec::new();
        for buffer in info.commands {
            commands.push(vk::CommandBufferSubmitInfo::default().command_buffer(*buffer));
        }
        let (mut waits, mut signals) = (SmallVec::new(), SmallVec::new());
        let waits = concat_semaphores(wait, info.waits, &mut waits);
        let signals = concat_semaphores(signal, info.signals, &mut signals);
        // SAFETY: upheld by the caller.
        unsafe { self.submit_lists(&commands, waits, signals, value, info.fence) }
    }

    /// Submits a frame with these lists.
    ///
    /// # Safety
    /// As [`submit_batch`](Self::submit_batch), with `waits` and `signals` for all points of the
    /// frame and of the program.
    #[inline]
    unsafe fn submit_lists(
        &self,
        commands: &[vk::CommandBufferSubmitInfo<'_>],
        waits: &[vk::SemaphoreSubmitInfo<'_>],
        signals: &[vk::SemaphoreSubmitInfo<'_>],
        value: u64,
        fence: vk::Fence,
    ) -> Result<()> {
        let batch = vk::SubmitInfo2::default()
            .command_buffer_infos(commands)
            .wait_semaphore_infos(waits)
            .signal_semaphore_infos(signals);
        match &self.objects.mirror {
            // SAFETY: VUID-VkSubmitInfo2-semaphore-03882: `rendered` has this queue as its only
            // signaler; its values are taken and submitted under one lock, and none is taken while
            // a lower one is lent. The rest is upheld by the caller.
            None => unsafe { self.compute.side().submit(self.queue(), batch, fence) },
            // SAFETY: as above.
            Some(mirror) => unsafe { self.submit_mirrored(mirror, batch, value, fence) },
        }
    }

    /// Returns the signal in the batch of the commands: that of the mirror if there is one,
    /// otherwise that of `rendered`.
    pub(super) fn first_signal(&self, value: u64) -> vk::SemaphoreSubmitInfo<'static> {
        let mirrored = self.objects.mirror.as_ref().map(|mirror| mirror.signal_info(value));
        mirrored.unwrap_or_else(|| rendered_info(&self.objects.rendered, value))
    }

    /// Submits a batch that signals the mirror, followed by one that signals `rendered`. Once
    /// `rendered` reaches the value, the mirror may be freed, so it must be signaled first.
    ///
    /// # Safety
    /// As [`submit_batch`](Self::submit_batch).
    pub(super) unsafe fn submit_mirrored(
        &self,
        mirror: &Mirror,
        batch: vk::SubmitInfo2<'_>,
        value: u64,
        fence: vk::Fence,
    ) -> Result<()> {
        let rendered = [rendered_info(&self.objects.rendered, value)];
        let behind = vk::SubmitInfo2::default().signal_semaphore_infos(&rendered);
        // SAFETY: VUID-VkSubmitInfo2-semaphore-03882: upheld by the caller for `rendered`, and for
        // the mirror unless another process has raised it against the rules. Signals of a later
        // batch come after those of an earlier one (Vulkan specification, "Signal Operation
        // Order").
        unsafe { self.queue().submit(&[batch, behind], fence) }?;
        mirror.mark_submitted(value);
        Ok(())
    }

    /// Ensures that the signal of `computed`, which a frame waits for, is a submitted operation.
    pub(super) fn prepare_present(&self, computed: BorrowedPoint<'_>) -> Result<()> {
        if self.compute.side().submits_signals() {
            return self.check_compute();
        }
        computed.wait(self.timeout)
    }
}

/// Returns the frame's own semaphores and the program's. `room` is used only if the program has
/// any, which most frames do not.
fn concat_semaphores<'a, 'i>(
    own: &'a [vk::SemaphoreSubmitInfo<'i>],
    more: &[vk::SemaphoreSubmitInfo<'i>],
    room: &'a mut SmallVec<[vk::SemaphoreSubmitInfo<'i>; INLINE_CAPACITY]>,
) -> &'a [vk::SemaphoreSubmitInfo<'i>] {
    if more.is_empty() {
        return own;
    }
    room.extend_from_slice(own);
    room.extend_from_slice(more);
    room
}

#[cfg(all(test, target_os = "linux", feature = "remote"))]
mod tests;
