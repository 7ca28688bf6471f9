//! Points on timelines.

use std::sync::Arc;
use std::time::Duration;

use vk_export::ash::vk;

use super::Timeline;
use crate::error::Result;
use crate::signaler::Signaler;

/// A point on a timeline whose signal has been enqueued.
///
/// A point cannot be created in any other way, so a wait for a point always has a matching signal
/// (CUDA programming guide 6.2.16: "It is illegal to issue a wait before the corresponding signal
/// has been issued"; see [External Resource Interoperability][guide]).
///
/// [guide]: https://docs.nvidia.com/cuda/cuda-c-programming-guide/index.html#external-resource-interoperability
#[doc = concat!("\n# Examples\n```\n", include_str!("../../docs/timeline_point.rs"), "```")]
#[derive(Debug, Clone)]
pub struct TimelinePoint {
    timeline: Timeline,
    value: u64,
}

impl Timeline {
    /// Returns the point of a signal that was enqueued earlier, or of the initial value 0.
    #[inline]
    pub(crate) fn point(&self, value: u64) -> TimelinePoint {
        TimelinePoint { timeline: self.clone(), value }
    }

    /// Like [`point`](Self::point), without a reference of its own.
    #[inline]
    pub(crate) fn borrowed_point(&self, value: u64) -> BorrowedPoint<'_> {
        BorrowedPoint { timeline: self, value }
    }
}

impl TimelinePoint {
    /// Returns the point's value on its timeline.
    #[inline]
    pub fn value(&self) -> u64 {
        self.value
    }

    /// Returns the name of the point's timeline.
    pub fn timeline_name(&self) -> &str {
        self.timeline.name()
    }

    /// Returns the side that signals the point.
    pub fn signaler(&self) -> Signaler {
        self.timeline.0.signaler
    }

    /// Returns `true` if the point has been reached. Does not block. Like [`wait`](Self::wait), it
    /// submits pending work first.
    ///
    /// # Errors
    /// The error of the failed driver call. With [`Backend::Inline`](crate::Backend::Inline), also
    /// [`vk_export::Error::QueueHeld`] inside [`Queue::with`](vk_export::Queue::with) while work is
    /// pending. After a Vulkan device was lost and CUDA was released from its waits, every point of
    /// the device's exchanges returns the loss, even if it was reached.
    pub fn is_reached(&self) -> Result<bool> {
        self.timeline.flush()?;
        Ok(self.timeline.value()? >= self.value)
    }

    /// Blocks the calling thread until the point is reached, for at most `timeout`. In a frame
    /// loop, prefer [`wait_blocking`](Self::wait_blocking): this function spins for up to 2 ms.
    ///
    /// With [`Backend::Inline`](crate::Backend::Inline), work that is not on the queue yet is
    /// submitted first: do not call it while you hold a lock that the engine's
    /// [`QueueLock`](vk_export::QueueLock) takes.
    ///
    /// The kind of wait depends on the signaler. A CUDA signal is polled, since `vkWaitSemaphores`
    /// notices it only after milliseconds. For a signal of a queue or the CPU, the thread blocks in
    /// Vulkan, unless CUDA is in use and several threads wait: each thread then polls and sleeps.
    /// Such a wait ends with a call of `vkWaitSemaphores`, so mapped memory can be read afterwards;
    /// [`is_reached`](Self::is_reached) orders no memory accesses. A CUDA signal needs no such
    /// call: the GPU has written the value after all work before the signal.
    ///
    /// # Errors
    /// [`Error::Timeout`](crate::Error::Timeout) with the last value seen, otherwise as
    /// [`is_reached`](Self::is_reached).
    pub fn wait(&self, timeout: Duration) -> Result<()> {
        self.timeline.wait_in_order(self.value, timeout)
    }

    /// Blocks like [`wait`](Self::wait), but without spinning for up to 2 ms first.
    ///
    /// The thread uses almost no processor time. It wakes tens of microseconds later than with
    /// `wait`, and up to half a millisecond later for a point that CUDA signals, or if several
    /// threads wait while CUDA is in use. Use it if other work is queued after the point, such as
    /// when waiting for the frame before the last.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_blocking(&self, timeout: Duration) -> Result<()> {
        self.timeline.block_on_value(self.value, timeout)
    }

    /// Blocks like [`wait`](Self::wait) until the commands before the point have ended, so that
    /// their resources can be freed.
    ///
    /// If the compute side fails, its error is returned only after the commands have ended. If its
    /// context is lost, the host signals in its place so that Vulkan can proceed, as
    /// [`Exchange::begin`] and closing an exchange do.
    ///
    /// If a [`Compute::group`] has lost only its leading GPU, the others may still use the
    /// resources, and the host does not signal: this returns
    /// [`Error::Timeout`](crate::Error::Timeout) until [`Exchange::begin`] was called, or the
    /// exchange was closed or dropped, which wait for those GPUs.
    ///
    /// [`Exchange::begin`]: crate::Exchange::begin
    /// [`Compute::group`]: crate::Compute::group
    ///
    /// # Errors
    /// [`Error::Timeout`](crate::Error::Timeout) if the commands may still run, or if that is
    /// unknown; after every other error they have ended. With
    /// [`Backend::Inline`](crate::Backend::Inline), pending work inside
    /// [`Queue::with`](vk_export::Queue::with) is such a timeout, which is returned at once.
    pub fn wait_ended(&self, timeout: Duration) -> Result<()> {
        self.timeline.wait_ended(self.value, timeout, || self.timeline.0.peer.release_lost())
    }

    /// Returns the wait for this point in a `VkSubmitInfo2`, at `stages`. Like
    /// [`wait`](Self::wait), it submits pending work first, so call it before you lock the queue.
    ///
    /// # Errors
    /// As [`is_reached`](Self::is_reached). Without the submission, the wait might never end: do
    /// not submit one.
    pub fn wait_info(&self, stages: vk::PipelineStageFlags2) -> Result<vk::SemaphoreSubmitInfo<'static>> {
        self.borrowed().wait_info(stages)
    }

    /// Borrows the point.
    #[inline]
    pub(crate) fn borrowed(&self) -> BorrowedPoint<'_> {
        self.timeline.borrowed_point(self.value)
    }
}

/// A [`TimelinePoint`] that borrows its timeline, for frames: it counts no reference.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BorrowedPoint<'t> {
    timeline: &'t Timeline,
    value: u64,
}

impl<'t> BorrowedPoint<'t> {
    #[inline]
    pub(crate) fn value(self) -> u64 {
        self.value
    }

    /// Returns `true` if `timeline` is the point's timeline.
    pub(crate) fn is_on(self, timeline: &Timeline) -> bool {
        Arc::ptr_eq(&self.timeline.0, &timeline.0)
    }

    /// See [`TimelinePoint::wait`].
    pub(crate) fn wait(self, timeout: Duration) -> Result<()> {
        self.timeline.wait_in_order(self.value, timeout)
    }

    /// See [`TimelinePoint::wait_info`].
    #[inline]
    pub(crate) fn wait_info(self, stages: vk::PipelineStageFlags2) -> Result<vk::SemaphoreSubmitInfo<'static>> {
        self.timeline.flush()?;
        Ok(self.submitted_wait(stages))
    }

    /// [`wait_info`](Self::wait_info) without submitting pending work, for a point that was flushed
    /// before or needs no flush. Engines may call it while they hold their queue's lock.
    #[inline]
    pub(crate) fn submitted_wait(self, stages: vk::PipelineStageFlags2) -> vk::SemaphoreSubmitInfo<'static> {
        vk::SemaphoreSubmitInfo::default()
            .semaphore(self.timeline.semaphore().as_raw())
            .value(self.value)
            .stage_mask(stages)
    }
}
