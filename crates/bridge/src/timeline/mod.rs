//! Timelines with one signaller each, and the points on them.

#![allow(unsafe_code)] // Signalling from the host.
pub(crate) mod history;
#[cfg(test)]
mod history_tests;
#[cfg(all(test, target_os = "linux"))]
mod schedules;
pub(crate) mod signaller;
mod sync;
pub(crate) mod wait;

use std::sync::Arc;
use std::time::{Duration, Instant};

use vk_export::ash::vk;
use vk_export::{ExportDevice, Semaphore, SemaphoreInfo, SemaphoreKind};

use crate::error::{Error, Result};
use crate::observe::live::Kind;
use crate::observe::log_error;
use crate::observe::object::Object;
use crate::observe::trace;
use crate::observe::trace::Event;
use crate::timeline::history::History;
use crate::timeline::signaller::Signaller;

/// The compute side as its timelines see it.
pub(crate) trait Peer: Send + Sync {
    /// Its name in a trace.
    fn name(&self) -> &'static str;

    /// Returns `true` if it is another API on the GPU: its signals are polled for, and only
    /// [`check`](Self::check) tells that it is gone.
    fn is_foreign(&self) -> bool;

    /// Returns `true` if it has the timeline of a signaller by export.
    fn takes_timeline(&self, signaller: Signaller) -> bool;

    /// Checks that it still works.
    fn check(&self) -> Result<()>;

    /// Submits work that is not on its way to the GPU yet.
    fn flush(&self) -> Result<()>;
}

/// A timeline semaphore that both sides know. Cloning it gives the same one.
#[derive(Clone)]
pub(crate) struct Timeline(Arc<Inner>);

struct Inner {
    vulkan: Semaphore,
    signaller: Signaller,
    history: Arc<History>,
    peer: Arc<dyn Peer>,
    _object: Object,
}

impl Timeline {
    /// One of the two timelines of an exchange.
    pub(crate) fn new(
        device: &ExportDevice,
        peer: Arc<dyn Peer>,
        signaller: Signaller,
        history: &Arc<History>,
    ) -> Result<Self> {
        let name = format!("{}.{}", history.exchange(), signaller.timeline());
        let info =
            SemaphoreInfo { name: &name, kind: SemaphoreKind::Timeline, exportable: peer.takes_timeline(signaller) };
        let vulkan = Semaphore::new(device, &info)?;
        let object = Object::new(Kind::Timeline, &name, "vulkan", None);
        Ok(Self(Arc::new(Inner { vulkan, signaller, history: Arc::clone(history), peer, _object: object })))
    }

    pub(crate) fn name(&self) -> &str {
        self.0.vulkan.name()
    }

    /// Vulkan's semaphore, lent.
    pub(crate) fn semaphore(&self) -> &Semaphore {
        &self.0.vulkan
    }

    pub(crate) fn value(&self) -> Result<u64> {
        Ok(self.0.vulkan.value()?)
    }

    /// The point whose signal has just been enqueued by the timeline's signaller.
    pub(crate) fn issue(&self, value: u64) -> TimelinePoint {
        self.0.history.signalled(self.0.signaller, value);
        let side = match self.0.signaller {
            Signaller::Compute => self.0.peer.name(),
            Signaller::Queue => "vulkan",
        };
        trace::event(Event::new("signal", side, self.name()).value(value));
        TimelinePoint { timeline: self.clone(), value }
    }

    /// The point of a signal that was enqueued before, or the start of the timeline.
    pub(crate) fn issued(&self, value: u64) -> TimelinePoint {
        TimelinePoint { timeline: self.clone(), value }
    }

    /// Notes that a wait for `value` has just been enqueued by the other side than the signaller.
    pub(crate) fn awaited(&self, value: u64) {
        self.0.history.waited(self.0.signaller, value);
        let side = match self.0.signaller {
            Signaller::Compute => "vulkan",
            Signaller::Queue => self.0.peer.name(),
        };
        trace::event(Event::new("wait", side, self.name()).value(value));
    }

    /// The highest point whose signal was enqueued.
    pub(crate) fn last_issued(&self) -> Option<TimelinePoint> {
        let value = self.0.history.last_signal(self.0.signaller);
        (value > 0).then(|| TimelinePoint { timeline: self.clone(), value })
    }

    /// Blocks until `value` is reached, asking the side that signals; for at most `limit`.
    pub(crate) fn wait_value(&self, value: u64, limit: Duration) -> Result<()> {
        let start = Instant::now();
        self.flush()?;
        let inner = &*self.0;
        let reached = if inner.is_signalled_by_foreign() {
            wait::poll(limit, || Ok(inner.vulkan.value()? >= value), || inner.check_signaller(value))?
        } else {
            wait::spin_then_block(limit, || Ok(inner.vulkan.value()? >= value), |left| inner.block(value, left))?
        };
        if reached {
            return Ok(());
        }
        Err(self.timed_out(value, start.elapsed())?)
    }

    /// [`wait_value`](Self::wait_value) without spinning.
    pub(crate) fn block_on_value(&self, value: u64, limit: Duration) -> Result<()> {
        let start = Instant::now();
        self.flush()?;
        let inner = &*self.0;
        let reached = || Ok(inner.vulkan.value()? >= value);
        let reached = if inner.is_signalled_by_foreign() {
            wait::nap(limit, reached, || inner.check_signaller(value))?
        } else {
            inner.block(value, limit)?
        };
        if reached { Ok(()) } else { Err(self.timed_out(value, start.elapsed())?) }
    }

    /// [`wait_value`](Self::wait_value) where the compute side is known to have lost a GPU, which
    /// does not end the wait: only a lost Vulkan device does.
    pub(crate) fn wait_out(&self, value: u64, limit: Duration) -> Result<()> {
        let (start, inner) = (Instant::now(), &*self.0);
        if wait::poll(limit, || Ok(inner.vulkan.value()? >= value), || inner.check_vulkan(value))? {
            return Ok(());
        }
        Err(self.timed_out(value, start.elapsed())?)
    }

    /// Makes sure that the signals which were issued are on their way.
    fn flush(&self) -> Result<()> {
        match self.0.signaller {
            Signaller::Compute => self.0.peer.flush(),
            Signaller::Queue => Ok(()),
        }
    }

    /// The error of a wait for `value` that did not end.
    fn timed_out(&self, value: u64, waited: Duration) -> Result<Error> {
        Ok(Error::Timeout {
            exchange: self.0.history.exchange().to_owned(),
            timeline: self.name().to_owned(),
            value,
            signaller: self.0.signaller,
            last_seen: self.value()?,
            waited,
            history: self.0.history.to_string(),
        })
    }

    /// Lets everything go on that waits for a signaller which is gone: sets the timeline to the
    /// last value that was issued.
    ///
    /// # Safety
    /// The compute side signals this timeline and has failed for good ([`Peer::check`] says so):
    /// none of its signals will come any more.
    pub(crate) unsafe fn release(&self) -> Result<()> {
        let Some(point) = self.last_issued() else { return Ok(()) };
        if point.is_reached()? {
            return Ok(());
        }
        log_error!("{}: signalled by the host, since its signaller has failed", self.name());
        trace::event(Event::new("signal", "host", self.name()).value(point.value));
        // SAFETY: VUID-VkSemaphoreSignalInfo-value-03259 and -03260: the pending signals of lower
        // values are those of the failed side, which do not come, by this function's contract.
        Ok(unsafe { self.0.vulkan.signal(point.value) }?)
    }

    /// Signals from the thread of the CPU backend, the only signaller of such a timeline.
    pub(crate) fn signal_from_host(&self, value: u64) -> Result<()> {
        // SAFETY: VUID-VkSemaphoreSignalInfo-value-03259: this timeline's signaller is the CPU
        // backend, whose one thread makes this call; frames are finished in order, so no other
        // signal is pending and the values rise.
        Ok(unsafe { self.0.vulkan.signal(value) }?)
    }
}

/// Duration for which Vulkan is polled at a stretch, before the side that it waits for is looked
/// at.
const STRETCH: Duration = Duration::from_millis(100);

impl Inner {
    /// Returns `true` if another API signals the timeline, which `vkWaitSemaphores` notices late.
    fn is_signalled_by_foreign(&self) -> bool {
        self.peer.is_foreign() && self.signaller == Signaller::Compute
    }

    /// Checks that neither the compute side nor the Vulkan device is lost. Some drivers report a
    /// lost device from waits and submissions only, while the counter keeps its last value.
    fn check_signaller(&self, value: u64) -> Result<()> {
        self.peer.check()?;
        self.check_vulkan(value)
    }

    fn check_vulkan(&self, value: u64) -> Result<()> {
        match self.vulkan.wait(value, Duration::ZERO) {
            Ok(()) | Err(vk_export::Error::Timeout { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Blocks in Vulkan; ends with an error when the queue waits for another API's context that is
    /// lost.
    fn block(&self, value: u64, limit: Duration) -> Result<bool> {
        let start = Instant::now();
        loop {
            let left = limit.saturating_sub(start.elapsed());
            match self.vulkan.wait(value, left.min(STRETCH)) {
                Ok(()) => return Ok(true),
                Err(vk_export::Error::Timeout { .. }) if left.is_zero() => return Ok(false),
                Err(vk_export::Error::Timeout { .. }) if self.peer.is_foreign() => self.peer.check()?,
                Err(vk_export::Error::Timeout { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl std::fmt::Debug for Timeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Timeline(\"{}\")", self.name())
    }
}

/// A point on a timeline whose signal has been enqueued.
///
/// There is no other way to come by one, so whoever waits for a point waits for something that will
/// happen (CUDA programming guide 6.2.16: "It is illegal to issue a wait before the corresponding
/// signal has been issued").
#[doc = concat!("\n# Examples\n```\n", include_str!("../../docs/timeline_point.rs"), "```")]
#[derive(Debug, Clone)]
pub struct TimelinePoint {
    timeline: Timeline,
    value: u64,
}

impl TimelinePoint {
    /// The value of the point.
    pub fn value(&self) -> u64 {
        self.value
    }

    /// The name of its timeline.
    pub fn timeline_name(&self) -> &str {
        self.timeline.name()
    }

    /// Side that signals it.
    pub fn signaller(&self) -> Signaller {
        self.timeline.0.signaller
    }

    /// Returns `true` if the point has been reached; does not block. With
    /// [`Backend::Inline`](crate::Backend::Inline), work that is not on the queue yet is submitted
    /// first.
    ///
    /// # Errors
    /// The failed call.
    pub fn is_reached(&self) -> Result<bool> {
        self.timeline.flush()?;
        Ok(self.timeline.value()? >= self.value)
    }

    /// Blocks the calling thread until the point is reached, for at most `limit`.
    ///
    /// With [`Backend::Inline`](crate::Backend::Inline), work that is not on the queue yet is
    /// submitted first: do not call it under a lock that the engine's
    /// [`QueueLock`](vk_export::QueueLock) takes.
    ///
    /// The side that signals is asked, in the way that answers soonest: a CUDA signal is polled,
    /// since `vkWaitSemaphores` notices it only after milliseconds; what a queue or the CPU signals
    /// is blocked on.
    ///
    /// # Errors
    /// [`Error::Timeout`] with the last value seen, or the failed call.
    pub fn wait(&self, limit: Duration) -> Result<()> {
        self.timeline.wait_value(self.value, limit)
    }

    /// Blocks like [`wait`](Self::wait), but without spinning for up to 2 ms first.
    ///
    /// The thread takes next to no processor time. It wakes tens of microseconds later than with
    /// `wait`, and up to half a millisecond later for a point that CUDA signals. Use it where other
    /// work is queued behind the point, such as when waiting for the frame before the last.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_blocking(&self, limit: Duration) -> Result<()> {
        self.timeline.block_on_value(self.value, limit)
    }

    /// The wait for this point in a `VkSubmitInfo2`, at `stages`. It submits first what
    /// [`wait`](Self::wait) does.
    pub fn wait_info(&self, stages: vk::PipelineStageFlags2) -> vk::SemaphoreSubmitInfo<'static> {
        if let Err(error) = self.timeline.flush() {
            log_error!("{}: point {} is not on its way: {error}", self.timeline_name(), self.value);
        }
        vk::SemaphoreSubmitInfo::default()
            .semaphore(self.timeline.semaphore().as_raw())
            .value(self.value)
            .stage_mask(stages)
    }
}
