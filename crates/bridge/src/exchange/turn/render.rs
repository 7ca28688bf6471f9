//! Vulkan's part of a frame.
#![allow(unsafe_code)] // Recording and submitting.

use std::marker::PhantomData;
use std::sync::Arc;

use vk_export::Queue;
use vk_export::ash::vk;

use crate::error::Result;
use crate::exchange::direction::{ComputeFirst, Direction};
use crate::exchange::ledger::NewFrame;
use crate::exchange::state::State;
use crate::exchange::submit::SubmitInfo;
use crate::exchange::submit::parts::SubmitParts;
use crate::exchange::turn_parts::TurnParts;
use crate::observe::live::Alive;
use crate::observe::log_warn;
use crate::resources::Resources;
use crate::timeline::{BorrowedPoint, TimelinePoint};

/// Vulkan's part of a frame: it owns the slot until it is submitted or skipped.
///
/// If it is dropped before that, the frame is lost, and the next `begin` returns
/// [`Error::TurnLost`](crate::Error::TurnLost).
#[doc = concat!("\n# Examples\n```\n", include_str!("../../../docs/render_turn.rs"), "```")]
#[must_use = "a turn that is neither submitted nor skipped loses its frame"]
pub struct RenderTurn<R: Resources, D: Direction = ComputeFirst> {
    pub(in crate::exchange) shared: Arc<State<R>>,
    pub(in crate::exchange) frame: u64,
    pub(in crate::exchange) slot: usize,
    /// The value of `computed` that the submission waits for; 0 if the slot was never used.
    pub(in crate::exchange) computed: u64,
    pub(in crate::exchange) done: bool,
    pub(in crate::exchange) direction: PhantomData<fn() -> D>,
    pub(in crate::exchange) alive: Alive,
}

impl<R: Resources, D: Direction> RenderTurn<R, D> {
    /// Creates the first turn of a frame.
    pub(in crate::exchange) fn new(shared: &Arc<State<R>>, begun: NewFrame) -> Self {
        // The value 0 is the initial one: the first use of a slot waits for nothing.
        Self::from_parts(TurnParts::new(shared, begun.frame, begun.slot), begun.wait.unwrap_or(0))
    }

    /// Creates the turn of a frame after whose computation the value `computed` is signaled.
    pub(in crate::exchange) fn from_parts(
        TurnParts { shared, frame, slot, alive }: TurnParts<R>,
        computed: u64,
    ) -> Self {
        Self { shared, frame, slot, computed, done: false, direction: PhantomData, alive }
    }

    /// Returns the point that the submission waits for.
    fn after(&self) -> BorrowedPoint<'_> {
        self.shared.objects.computed.borrowed_point(self.computed)
    }

    /// Returns the frame's number, starting at 0.
    pub fn frame(&self) -> u64 {
        self.frame
    }

    /// Returns the slot's index, which is less than [`Exchange::slots`](crate::Exchange::slots).
    pub fn slot(&self) -> usize {
        self.slot
    }

    /// Returns the point at which the compute side has finished with the slot; the submission waits
    /// for it. With [`RenderFirst`](crate::RenderFirst) it is that of the slot's previous frame, or
    /// the initial value 0 if there was none.
    pub fn computed(&self) -> TimelinePoint {
        self.shared.objects.computed.point(self.computed)
    }

    /// Ensures that a present may depend on this frame. Call it before presenting, ideally right
    /// before submitting.
    ///
    /// A present must not depend on a signal that has not been submitted yet
    /// (VUID-vkQueuePresentKHR-pWaitSemaphores-03268). With CUDA, the signal was enqueued when the
    /// turn was finished; the stream is queried once, so that drivers that batch work (Windows)
    /// submit it, and the call does not block. With kernels in the Vulkan queue, the signal is
    /// submitted with the frame, and the call does not block either. The CPU backend signals from
    /// the host once its work has run, so this blocks until then, for at most the exchange's
    /// timeout.
    ///
    /// # Errors
    /// [`Error::Timeout`](crate::Error::Timeout), or the error of the failed driver call.
    pub fn prepare_present(&self) -> Result<()> {
        self.shared.prepare_present(self.after())
    }

    /// Returns the queue that the frame is submitted to, see
    /// [`ExchangeInfo::queue`](crate::ExchangeInfo::queue).
    pub fn queue(&self) -> &Queue {
        self.shared.queue()
    }

    /// Returns the Vulkan side of the resources.
    pub fn resources(&self) -> R::Render<'_> {
        R::render(&self.shared.objects.slots[self.slot])
    }

    /// Records the acquire of all resources from the compute side: barriers, and the copies into
    /// [staged](crate::RenderImage::is_staged) images. Call it before their first use, outside a
    /// render pass.
    ///
    /// # Safety
    /// `commands` is recording on the exchange's device for the family of [`queue`](Self::queue),
    /// outside a render pass, and externally synchronized; it is submitted with this turn.
    pub unsafe fn record_acquire(&self, commands: vk::CommandBuffer) {
        let shared = &self.shared;
        // SAFETY: the caller guarantees the state of the command buffer; the barriers are of this
        // exchange's own resources.
        unsafe { shared.barriers[self.slot].record_acquire(shared.compute.device(), commands) };
    }

    /// Records the release of all resources to the compute side: barriers, and the copies out of
    /// [staged](crate::RenderImage::is_staged) images that Vulkan may have written. Call it after
    /// their last use, outside a render pass.
    ///
    /// # Safety
    /// As [`record_acquire`](Self::record_acquire).
    pub unsafe fn record_release(&self, commands: vk::CommandBuffer) {
        let shared = &self.shared;
        // SAFETY: as in `record_acquire`.
        unsafe { shared.barriers[self.slot].record_release(shared.compute.device(), commands) };
    }

    pub(in crate::exchange) fn parts(&self, value: u64) -> SubmitParts {
        SubmitParts::new(&[self.after()], &self.shared.objects.rendered, value, self.shared.stages)
    }

    /// Records that the frame's submission, which signals `value`, was accepted.
    pub(in crate::exchange) fn record_submission(&self, value: u64) {
        self.shared.ledger().mark_submitted(self.slot, value);
        self.announce_submission(value);
    }

    /// Announces a submission that the ledger has recorded.
    fn announce_submission(&self, value: u64) {
        self.shared.notify_change();
        if self.computed > 0 {
            self.shared.objects.computed.record_wait(self.computed);
        }
        self.shared.objects.rendered.issue(value);
    }

    /// Submits the frame's commands to the exchange's [`queue`](Self::queue). The submission waits
    /// for the compute side and signals it on completion. Returns the point of that signal or, with
    /// [`RenderFirst`](crate::RenderFirst), the frame's [`ComputeTurn`](crate::ComputeTurn). Frames
    /// may be submitted in any order.
    ///
    /// # Errors
    /// - [`Error::OutOfOrder`](crate::Error::OutOfOrder) while a lent turn is open, and
    ///   [`vk_export::Error::QueueHeld`] inside [`Queue::with`]: nothing was submitted, and the
    ///   frame is lost, as if the turn had been dropped.
    /// - The error of the submission: nothing was submitted, and the frame counts as skipped.
    /// - With [`RenderFirst`](crate::RenderFirst), the error of the compute side's wait for the
    ///   submitted frame, which also counts as skipped. The call first blocks until the commands
    ///   have completed, for at most the exchange's timeout; after
    ///   [`Error::Timeout`](crate::Error::Timeout) they may still be running.
    ///
    /// # Safety
    /// - The command buffers are executable, belong to the device and stay alive, with everything
    ///   that they use, until the point is reached.
    /// - They acquire and release the resources with this turn's barriers and use them nowhere
    ///   else.
    pub unsafe fn submit(self, commands: &[vk::CommandBuffer]) -> Result<D::Submitted<R>> {
        // SAFETY: upheld by the caller.
        unsafe { self.submit_with(&SubmitInfo { commands, ..SubmitInfo::default() }) }
    }

    /// Like [`submit`](Self::submit), with additional semaphores and a fence.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    ///
    /// # Safety
    /// As [`submit`](Self::submit), and the additional semaphores and the fence satisfy the Valid
    /// Usage of `vkQueueSubmit2`.
    pub unsafe fn submit_with(mut self, info: &SubmitInfo<'_>) -> Result<D::Submitted<R>> {
        // SAFETY: upheld by the caller.
        let rendered = unsafe { self.enqueue(info) }?;
        let limit = self.shared.timeout;
        D::on_submitted(self.into_parts(), rendered, limit)
    }

    /// Submits the frame, and returns the value of `rendered` that the submission signals.
    ///
    /// # Safety
    /// As [`submit_with`](Self::submit_with).
    pub(in crate::exchange) unsafe fn enqueue(&mut self, info: &SubmitInfo<'_>) -> Result<u64> {
        let shared = &self.shared;
        let order = shared.lock_submissions()?;
        // SAFETY: the value is taken under the lock that is held, and no turn is lent. The rest is
        // upheld by the caller.
        let submit = |value| unsafe { shared.submit_batch(&[self.after()], value, info) };
        let submitted = shared.ledger.submit(&order, (self.slot, self.frame), submit);
        let submitted = submitted.map_err(|refusal| shared.refusal_error(refusal))?;
        self.done = true;
        match submitted {
            Ok(value) => self.announce_submission(value),
            Err(_) => shared.notify_change(),
        }
        submitted
    }

    /// Returns the slot without rendering, for example because the window is minimized or the
    /// swapchain is out of date. Submits nothing.
    pub fn skip(mut self) {
        self.shared.ledger().skip_render(self.slot);
        self.shared.notify_change();
        self.done = true;
    }
}

impl<R: Resources, D: Direction> Drop for RenderTurn<R, D> {
    fn drop(&mut self) {
        if !self.done {
            self.shared.ledger().drop_render(self.slot);
            self.shared.notify_change();
            log_warn!("exchange \"{}\": the render turn of frame {} was dropped", self.shared.name, self.frame);
        }
    }
}

impl<R: Resources, D: Direction> std::fmt::Debug for RenderTurn<R, D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RenderTurn(\"{}\", frame {}, slot {})", self.shared.name, self.frame, self.slot)
    }
}
