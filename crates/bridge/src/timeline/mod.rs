//! Timelines with one signaler each.
#![allow(unsafe_code)] // Signaling from the host.

pub(crate) mod history;
#[cfg(test)]
mod history_tests;
#[cfg(all(test, target_os = "linux", feature = "remote"))]
pub(crate) mod hooked;
pub(crate) mod host_signal;
mod loss;
mod outlast;
mod point;
#[cfg(all(test, target_os = "linux", feature = "remote"))]
mod release_tests;
#[cfg(all(test, target_os = "linux"))]
mod schedules;
pub(crate) mod signaler;
mod sync;
pub(crate) mod wait;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use vk_export::{ExportDevice, Semaphore, SemaphoreInfo, SemaphoreKind};

use crate::error::{Error, Result};
use crate::observe::live::Kind;
use crate::observe::log_error;
use crate::observe::object::Object;
use crate::observe::trace;
use crate::observe::trace::Event;
use crate::timeline::history::History;
pub use crate::timeline::point::TimelinePoint;
use crate::timeline::signaler::Signaler;
use crate::timeline::wait::Waiter;

/// The compute side as its timelines see it.
pub(crate) trait Peer: Send + Sync {
    /// Its name in a trace.
    fn name(&self) -> &'static str;

    /// Returns `true` if it is another API on the GPU: its signals are polled for, and only
    /// [`ensure_alive`](Self::ensure_alive) tells that it is gone.
    fn is_foreign(&self) -> bool;

    /// Returns `true` if it has the timeline of a signaler by export.
    fn takes_timeline(&self, signaler: Signaler) -> bool;

    /// Checks that it still works.
    fn ensure_alive(&self) -> Result<()>;

    /// Returns `true` if it is another API, and lost: nothing of it goes on.
    fn is_lost(&self) -> bool;

    /// Lets Vulkan go on wherever it waits for one that is lost, this one or others on its
    /// contexts.
    fn release_lost(&self);

    /// Submits work that was recorded and not submitted to the GPU yet.
    fn flush(&self) -> Result<()>;
}

/// A timeline semaphore that both sides know. Clones refer to the same one.
#[derive(Clone)]
pub(crate) struct Timeline(Arc<Inner>);

struct Inner {
    vulkan: Semaphore,
    signaler: Signaler,
    history: Arc<History>,
    peer: Arc<dyn Peer>,
    /// Held from the look at a value to its signal, where the host signals for the compute side.
    releasing: Mutex<()>,
    /// Set once values may be signaled in place of a lost Vulkan device: by which error it said so.
    lost: OnceLock<vk_export::Error>,
    _object: Object,
}

impl Timeline {
    /// One of the two timelines of an exchange.
    pub(crate) fn new(
        device: &ExportDevice,
        peer: Arc<dyn Peer>,
        signaler: Signaler,
        history: &Arc<History>,
    ) -> Result<Self> {
        let name = format!("{}.{}", history.exchange(), signaler.timeline());
        let info =
            SemaphoreInfo { name: &name, kind: SemaphoreKind::Timeline, exportable: peer.takes_timeline(signaler) };
        let vulkan = Semaphore::new(device, &info)?;
        let object = Object::new(Kind::Timeline, &name, "vulkan", None);
        let (history, releasing, lost) = (Arc::clone(history), Mutex::default(), OnceLock::new());
        Ok(Self(Arc::new(Inner { vulkan, signaler, history, peer, releasing, lost, _object: object })))
    }

    pub(crate) fn name(&self) -> &str {
        self.0.vulkan.name()
    }

    /// Vulkan's semaphore, lent.
    #[inline]
    pub(crate) fn semaphore(&self) -> &Semaphore {
        &self.0.vulkan
    }

    /// The value that it has reached, by signals of its signaler.
    #[inline]
    pub(crate) fn value(&self) -> Result<u64> {
        self.0.value()
    }

    /// The point whose signal has just been enqueued by the timeline's signaler.
    #[inline]
    pub(crate) fn issue(&self, value: u64) -> TimelinePoint {
        self.0.history.signaled(self.0.signaler, value);
        if trace::is_on() {
            let side = match self.0.signaler {
                Signaler::Compute => self.0.peer.name(),
                Signaler::Queue => "vulkan",
            };
            trace::event(Event::new("signal", side, self.name()).value(value));
        }
        TimelinePoint::new(self, value)
    }

    /// The point of a signal that was enqueued before, or the start of the timeline.
    #[inline]
    pub(crate) fn issued(&self, value: u64) -> TimelinePoint {
        TimelinePoint::new(self, value)
    }

    /// Notes that a wait for `value` has just been enqueued by the other side than the signaler.
    #[inline]
    pub(crate) fn awaited(&self, value: u64) {
        self.0.history.waited(self.0.signaler, value);
        if trace::is_on() {
            let side = match self.0.signaler {
                Signaler::Compute => "vulkan",
                Signaler::Queue => self.0.peer.name(),
            };
            trace::event(Event::new("wait", side, self.name()).value(value));
        }
    }

    /// The highest point whose signal was enqueued.
    pub(crate) fn last_issued(&self) -> Option<TimelinePoint> {
        let value = self.0.history.last_signal(self.0.signaler);
        (value > 0).then(|| TimelinePoint::new(self, value))
    }

    /// [`wait_value`](Self::wait_value), and orders what was done before the signal before what the
    /// host does next: for whoever reads mapped memory then, or writes to it.
    pub(crate) fn wait_in_order(&self, value: u64, limit: Duration) -> Result<()> {
        self.wait_value(value, limit)?;
        self.order(value)
    }

    /// Makes memory accesses before the signal of `value`, which was reached, visible to the host.
    /// Reading the counter is not a memory dependency, but a wait is, and it returns at once. For a
    /// signal from CUDA no wait is made: Vulkan notices such a signal late, and a wait that times
    /// out orders nothing. There the GPU writes the counter after everything that precedes the
    /// signal.
    fn order(&self, value: u64) -> Result<()> {
        if self.0.is_signaled_by_foreign() {
            return Ok(());
        }
        match self.0.check_vulkan(value) {
            // Nothing is left to be ordered; other calls return the error.
            Err(error) if error.is_device_lost() => Ok(()),
            ordered => ordered,
        }
    }

    /// Blocks until `value` is reached, asking the side that signals; for at most `limit`. It may
    /// order no memory: enough for the pace of frames, and to free what commands used.
    pub(crate) fn wait_value(&self, value: u64, limit: Duration) -> Result<()> {
        self.flush()?;
        let inner = &*self.0;
        // What most frames that keep a pace find: no clock is asked for them.
        if inner.has_reached(value)? {
            return Ok(());
        }
        let start = Instant::now();
        let reached = if inner.is_signaled_by_foreign() {
            wait::poll(limit, || inner.has_reached(value), || inner.check_signaler(value))?
        } else {
            wait::spin_then_block(limit, || inner.has_reached(value), |left| inner.block(value, left))?
        };
        if reached {
            return Ok(());
        }
        Err(self.timed_out(value, start.elapsed())?)
    }

    /// [`wait_in_order`](Self::wait_in_order) without spinning.
    pub(crate) fn block_on_value(&self, value: u64, limit: Duration) -> Result<()> {
        let start = Instant::now();
        self.flush()?;
        let inner = &*self.0;
        let reached = || inner.has_reached(value);
        let reached = if inner.is_signaled_by_foreign() {
            wait::nap(limit, reached, || inner.check_signaler(value))?
        } else {
            inner.block(value, limit)?
        };
        if reached { self.order(value) } else { Err(self.timed_out(value, start.elapsed())?) }
    }

    /// Makes sure that the signals which were issued are on their way.
    fn flush(&self) -> Result<()> {
        match self.0.signaler {
            Signaler::Compute => self.0.peer.flush(),
            Signaler::Queue => Ok(()),
        }
    }

    /// The error of a wait for `value` that did not end.
    fn timed_out(&self, value: u64, waited: Duration) -> Result<Error> {
        Ok(self.timeout(value, self.value()?, waited))
    }

    fn timeout(&self, value: u64, last_seen: u64, waited: Duration) -> Error {
        Error::Timeout {
            exchange: self.0.history.exchange().to_owned(),
            timeline: self.name().to_owned(),
            value,
            signaler: self.0.signaler,
            last_seen,
            waited,
            history: self.0.history.to_string(),
        }
    }

    /// Returns `true` if its signals do not come any more, since nothing of the side that makes
    /// them goes on.
    pub(crate) fn is_deserted(&self) -> bool {
        self.0.signaler == Signaler::Compute && self.0.peer.is_lost()
    }

    /// Lets all waits for a lost compute side continue, by signaling the last issued value from the
    /// host.
    ///
    /// # Safety
    /// The compute side is this timeline's signaler and has failed permanently
    /// ([`Peer::ensure_alive`]): none of its pending signals will be executed.
    pub(crate) unsafe fn release(&self) -> Result<()> {
        let traced = trace::Held::new();
        let releasing = self.0.releasing.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: handed on to the caller.
        let released = unsafe { self.release_last() };
        // The program's logger and sink may take any lock.
        drop(releasing);
        drop(traced);
        if released? {
            log_error!("{}: signaled by the host, since its signaler has failed", self.name());
        }
        Ok(())
    }

    /// Signals the last value that was issued, and returns whether it had not been reached.
    ///
    /// # Safety
    /// As [`release`](Self::release); no other thread is in here.
    unsafe fn release_last(&self) -> Result<bool> {
        let Some(point) = self.last_issued() else { return Ok(false) };
        // Nothing waits on a lost device.
        if self.is_abandoned() || point.is_reached()? {
            return Ok(false);
        }
        trace::event(Event::new("signal", "host", self.name()).value(point.value()));
        // SAFETY: VUID-VkSemaphoreSignalInfo-value-03258: not reached, and nobody else signals by
        // this function's contract; -03259 and -03260: the pending signals of lower values are
        // those of the failed side, which do not come.
        unsafe { host_signal::signal(&self.0.vulkan, point.value()) }?;
        Ok(true)
    }

    /// Signals from the thread of the CPU backend, the only signaler of such a timeline.
    pub(crate) fn signal_from_host(&self, value: u64) -> Result<()> {
        // SAFETY: VUID-VkSemaphoreSignalInfo-value-03259: this timeline's signaler is the CPU
        // backend, whose one thread makes this call; frames are finished in order, so no other
        // signal is pending and the values rise.
        unsafe { host_signal::signal(&self.0.vulkan, value) }
    }
}

/// Duration for which Vulkan is polled at a stretch, before the side that it waits for is looked
/// at.
const STRETCH: Duration = Duration::from_millis(100);

impl Inner {
    /// Returns `true` if another API signals the timeline, which `vkWaitSemaphores` notices late.
    fn is_signaled_by_foreign(&self) -> bool {
        self.peer.is_foreign() && self.signaler == Signaler::Compute
    }

    /// Checks that neither the compute side nor the Vulkan device is lost. Some drivers report a
    /// lost device from waits and submissions only, while the counter keeps its last value.
    fn check_signaler(&self, value: u64) -> Result<()> {
        self.peer.ensure_alive()?;
        self.check_vulkan(value)
    }

    fn check_vulkan(&self, value: u64) -> Result<()> {
        self.vulkan.try_wait(value, Duration::ZERO)?;
        Ok(())
    }

    /// Blocks in Vulkan; ends with an error when the queue waits for another API's context that is
    /// lost.
    fn block(&self, value: u64, limit: Duration) -> Result<bool> {
        let (start, foreign) = (Instant::now(), self.peer.is_foreign());
        let waiter = foreign.then(|| Waiter::enter(&wait::WAITERS));
        let mut checked = Duration::ZERO;
        loop {
            let elapsed = start.elapsed();
            let left = limit.saturating_sub(elapsed);
            if waiter.as_ref().is_some_and(|waiter| !waiter.is_alone()) {
                return wait::nap(left, || self.has_reached(value), || self.check_signaler(value));
            }
            if self.vulkan.try_wait(value, left.min(if foreign { wait::TURN } else { STRETCH }))? {
                return self.check_kept().map(|()| true);
            }
            if left.is_zero() {
                return Ok(false);
            }
            if foreign && elapsed - checked >= STRETCH {
                self.peer.ensure_alive()?;
                checked = elapsed;
            }
        }
    }
}

impl std::fmt::Debug for Timeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Timeline(\"{}\")", self.name())
    }
}
