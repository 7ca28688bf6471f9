//! Vulkan's part of a frame.
#![allow(unsafe_code)] // Recording and submitting.

use std::marker::PhantomData;
use std::sync::Arc;

use smallvec::SmallVec;
use vk_export::ash::vk;
use vk_export::{Handover, ImageHandover, Queue};

use super::{ComputeFirst, ComputeTurn, Direction, RenderFirst, Shared, ledger};
use crate::compute::Backend;
use crate::error::{Error, Result};
use crate::exchange::submit::SubmitParts;
use crate::observe::live::{Alive, Kind};
use crate::resources::HandoverRef;
use crate::resources::Resources;
use crate::timeline::TimelinePoint;

/// Vulkan's part of a frame: it owns the slot until it is submitted or skipped.
///
/// Dropped before that, the frame is lost and the next `begin` says so.
#[must_use = "a turn that is neither submitted nor skipped loses its frame"]
pub struct RenderTurn<R: Resources, D: Direction = ComputeFirst> {
    shared: Arc<Shared<R>>,
    frame: u64,
    slot: usize,
    computed: TimelinePoint,
    done: bool,
    direction: PhantomData<fn() -> D>,
    _alive: Alive,
}

/// What else goes into the submission of a frame.
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

/// Barriers, command buffers and semaphores of a frame that need no heap.
const INLINE: usize = 16;

impl<R: Resources, D: Direction> RenderTurn<R, D> {
    pub(super) fn new(shared: Arc<Shared<R>>, frame: u64, slot: usize, computed: TimelinePoint) -> Self {
        let alive = Alive::new(Kind::Turn);
        Self { shared, frame, slot, computed, done: false, direction: PhantomData, _alive: alive }
    }

    /// The number of the frame, from 0.
    pub fn frame(&self) -> u64 {
        self.frame
    }

    /// The slot, below [`Exchange::slots`](crate::Exchange::slots).
    pub fn slot(&self) -> usize {
        self.slot
    }

    /// The point at which the compute side is done with the slot, which the submission waits for. With [`RenderFirst`],
    /// that of an earlier frame; point 0, where a timeline starts, when there was none.
    pub fn computed(&self) -> &TimelinePoint {
        &self.computed
    }

    /// Makes sure that a frame which is presented may be: call it before presenting, at best right before submitting.
    ///
    /// A present must not depend on a signal that has not been submitted yet (VUID-vkQueuePresentKHR-pWaitSemaphores-03268).
    /// CUDA's signal has been, when the turn was finished, and this returns at once. The CPU's is made when the CPU is done,
    /// so with that backend this blocks until then, for at most the exchange's timeout.
    ///
    /// # Errors
    /// [`Error::Timeout`], or the failed call.
    pub fn prepare_present(&self) -> Result<()> {
        match self.shared.compute.backend() {
            Backend::Host => self.computed.wait(self.shared.timeout),
            _ => Ok(()),
        }
    }

    /// The queue that the frame is submitted to, as [`ExchangeInfo::queue`](crate::ExchangeInfo::queue) says.
    pub fn queue(&self) -> &Queue {
        self.shared.queue()
    }

    /// The resources as Vulkan sees them.
    pub fn resources(&self) -> R::Render<'_> {
        R::render(&self.shared.slots[self.slot])
    }

    /// Records the barriers that take all resources over from the compute side. Goes before their first use, outside a
    /// render pass.
    ///
    /// # Safety
    /// `commands` is recording on the exchange's device for the family of [`queue`](Self::queue), outside a render pass,
    /// and externally synchronized; it is submitted with this turn.
    pub unsafe fn record_acquire(&self, commands: vk::CommandBuffer) {
        // SAFETY: handed on to the caller.
        unsafe { self.record(commands, |buffer| Some(buffer.acquire()), |image| Some(image.acquire())) };
        // SAFETY: as above.
        unsafe { self.record(commands, |_| None, ImageHandover::enter) };
    }

    /// Records the barriers that give all resources back. Goes after their last use, outside a render pass.
    ///
    /// # Safety
    /// As [`record_acquire`](Self::record_acquire).
    pub unsafe fn record_release(&self, commands: vk::CommandBuffer) {
        // SAFETY: handed on to the caller.
        unsafe { self.record(commands, |_| None, ImageHandover::leave) };
        // SAFETY: as above.
        unsafe { self.record(commands, |buffer| Some(buffer.release()), |image| Some(image.release())) };
    }

    /// One dependency with the barriers that `buffer` and `image` give for each resource, if any.
    ///
    /// # Safety
    /// As [`record_acquire`](Self::record_acquire).
    unsafe fn record(
        &self,
        commands: vk::CommandBuffer,
        buffer: impl Fn(&Handover) -> Option<vk::BufferMemoryBarrier2<'static>>,
        image: impl Fn(&ImageHandover) -> Option<vk::ImageMemoryBarrier2<'static>>,
    ) {
        let mut buffers = SmallVec::<[_; INLINE]>::new();
        let mut images = SmallVec::<[_; INLINE]>::new();
        R::handovers(&self.shared.slots[self.slot], &mut |handover| match handover {
            HandoverRef::Buffer(handover) => buffers.extend(buffer(handover)),
            HandoverRef::Image(handover) => images.extend(image(handover)),
        });
        if buffers.is_empty() && images.is_empty() {
            return;
        }
        let dependency = vk::DependencyInfo::default().buffer_memory_barriers(&buffers).image_memory_barriers(&images);
        // SAFETY: the caller vouches for the command buffer; the barriers name this exchange's own resources and the family
        // of its queue (VUID-vkCmdPipelineBarrier2-srcQueueFamilyIndex-10388 and its like).
        unsafe { self.shared.compute.device().cmd_pipeline_barrier2(commands, &dependency) };
    }

    /// The wait and the signal for an engine's own submission, which holds this frame's commands. Once taken, tell the
    /// turn what became of it: [`submitted`](Self::submitted) or [`not_submitted`](Self::not_submitted).
    ///
    /// # Errors
    /// [`Error::OutOfOrder`] while an earlier frame is still to be submitted.
    pub fn submit_parts(&mut self) -> Result<SubmitParts> {
        self.shared.ledger().lend(self.frame).map_err(|refusal| self.shared.refused(refusal))?;
        Ok(self.parts())
    }

    fn parts(&self) -> SubmitParts {
        SubmitParts::new(&self.computed, &self.shared.rendered, ledger::value(self.frame), self.shared.stages)
    }

    /// Notes what a submission that was accepted does.
    fn on_its_way(&self) -> TimelinePoint {
        self.shared.ledger().submitted(self.frame);
        if self.computed.value() > 0 {
            self.shared.computed.awaited(self.computed.value());
        }
        self.shared.rendered.issue(ledger::value(self.frame))
    }

    /// Submits the frame's commands; for a turn whose submit parts were not taken. They wait for the compute side and tell
    /// it when they are done. Gives the point at which that will be, or, with [`RenderFirst`], the frame's
    /// [`ComputeTurn`].
    ///
    /// # Errors
    /// [`Error::OutOfOrder`] or [`Error::InvalidArgument`] for a queue of another family than the exchange's, and the turn
    /// is lost; or the failed call, and the frame counts as skipped. Nothing was submitted then.
    ///
    /// # Safety
    /// - The command buffers are executable, belong to the device and stay alive, with all that they use, until the point
    ///   is reached; `queue` is a queue of the device.
    /// - They acquire and release the resources with this turn's barriers and use them nowhere else.
    pub unsafe fn submit(self, queue: &Queue, commands: &[vk::CommandBuffer]) -> Result<D::Submitted<R>> {
        // SAFETY: handed on to the caller.
        unsafe { self.submit_with(queue, &SubmitInfo { commands, ..SubmitInfo::default() }) }
    }

    /// [`submit`](Self::submit) with further semaphores and a fence.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    ///
    /// # Safety
    /// As [`submit`](Self::submit), and the further semaphores and the fence keep the Valid Usage of `vkQueueSubmit2`.
    pub unsafe fn submit_with(mut self, queue: &Queue, info: &SubmitInfo<'_>) -> Result<D::Submitted<R>> {
        self.shared.ledger().check_order(self.frame).map_err(|refusal| self.shared.refused(refusal))?;
        if queue.family() != self.shared.queue().family() {
            return Err(Error::InvalidArgument {
                object: format!("exchange \"{}\"", self.shared.name),
                reason: format!(
                    "frame {} was submitted to a queue of family {}, its barriers are for family {}; use the turn's `queue`",
                    self.frame,
                    queue.family(),
                    self.shared.queue().family()
                ),
            });
        }
        let parts = self.parts();
        let commands: SmallVec<[_; INLINE]> =
            info.commands.iter().map(|c| vk::CommandBufferSubmitInfo::default().command_buffer(*c)).collect();
        let waits: SmallVec<[_; INLINE]> = std::iter::once(parts.wait).chain(info.waits.iter().copied()).collect();
        let signals: SmallVec<[_; INLINE]> =
            std::iter::once(parts.signal).chain(info.signals.iter().copied()).collect();
        let batch = vk::SubmitInfo2::default()
            .command_buffer_infos(&commands)
            .wait_semaphore_infos(&waits)
            .signal_semaphore_infos(&signals);
        // SAFETY: VUID-VkSubmitInfo2-semaphore-03882: `rendered` has this queue as its only signaller, and `check_order`
        // saw that no earlier frame is still to come, so the value rises; the rest is the caller's.
        let submitted = unsafe { queue.submit(&[batch], info.fence) };
        self.done = true;
        if let Err(error) = submitted {
            self.shared.ledger().skip(self.frame);
            return Err(error.into());
        }
        D::submitted(&self.shared, self.frame, self.slot, self.on_its_way())
    }

    /// Gives the slot back unrendered: a window was minimised, a swapchain is out of date. Costs nothing on the GPU.
    ///
    /// Once the turn's submit parts were taken this cannot know what became of them, and the slot stays lost until its
    /// signal comes; [`not_submitted`](Self::not_submitted) says that it never will.
    pub fn skip(mut self) {
        self.shared.ledger().skip(self.frame);
        self.done = true;
    }

    /// Says that this turn's submit parts were never submitted, and gives the slot back unrendered.
    ///
    /// # Safety
    /// No submission with the parts of this turn has been accepted, and none will be made.
    pub unsafe fn not_submitted(mut self) {
        self.shared.ledger().retract(self.frame);
        self.done = true;
    }
}

impl<R: Resources> RenderTurn<R, ComputeFirst> {
    /// Says that this turn's submit parts are on their way; gives the point at which the frame is rendered.
    ///
    /// # Safety
    /// The parts of [`submit_parts`](Self::submit_parts) of this very turn went, unchanged, into one `vkQueueSubmit2` (or
    /// `vkQueueSubmit`) on a queue of the device, with the commands that use the resources, and it returned `VK_SUCCESS`.
    /// The commands acquire and release the resources with this turn's barriers and use them nowhere else.
    pub unsafe fn submitted(mut self) -> TimelinePoint {
        self.done = true;
        let point = self.on_its_way();
        self.shared.pace().note(point.value());
        point
    }
}

impl<R: Resources> RenderTurn<R, RenderFirst> {
    /// Says that this turn's submit parts are on their way; gives the compute side's turn.
    ///
    /// # Errors
    /// The call that should have let the compute side wait; the frame is then lost, the submission goes on.
    ///
    /// # Safety
    /// As for frames that the compute side begins: the parts of [`submit_parts`](Self::submit_parts) of this very turn
    /// went, unchanged, into one `vkQueueSubmit2` (or `vkQueueSubmit`) on a queue of the device, with the commands that use
    /// the resources, and it returned `VK_SUCCESS`. The commands acquire and release the resources with this turn's
    /// barriers and use them nowhere else.
    pub unsafe fn submitted(mut self) -> Result<ComputeTurn<R, RenderFirst>> {
        self.done = true;
        <RenderFirst as super::direction::Protocol>::submitted(&self.shared, self.frame, self.slot, self.on_its_way())
    }
}

impl<R: Resources, D: Direction> Drop for RenderTurn<R, D> {
    fn drop(&mut self) {
        if !self.done {
            log::warn!("exchange \"{}\": the render turn of frame {} was dropped", self.shared.name, self.frame);
            self.shared.ledger().drop_render(self.frame);
        }
    }
}

impl<R: Resources, D: Direction> std::fmt::Debug for RenderTurn<R, D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RenderTurn(\"{}\", frame {}, slot {})", self.shared.name, self.frame, self.slot)
    }
}
