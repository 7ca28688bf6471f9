//! Timeline semaphores with one signaler each.
#![allow(unsafe_code)] // Signaling from the host.

pub(crate) mod history;
#[cfg(test)]
mod history_tests;
#[cfg(all(test, target_os = "linux", feature = "remote"))]
pub(crate) mod hooked;
pub(crate) mod host_signal;
mod loss;
mod point;
#[cfg(all(test, target_os = "linux", feature = "remote"))]
mod release_tests;
#[cfg(all(test, target_os = "linux"))]
mod schedules;
mod sync;
pub(crate) mod wait;
mod wait_completed;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use vk_export::{ExportDevice, Semaphore, SemaphoreInfo, SemaphoreKind};

use crate::error::{Error, Result};
use crate::observe::live::Kind;
use crate::observe::log_error;
use crate::observe::object::Object;
use crate::observe::trace;
use crate::signaler::Signaler;
use crate::timeline::history::History;
pub(crate) use crate::timeline::point::BorrowedPoint;
pub use crate::timeline::point::TimelinePoint;
use crate::timeline::wait::Waiter;

/// The operations of the compute side that its timelines use.
pub(crate) trait Peer: Send + Sync {
    /// Returns the side that its events have in the trace.
    fn trace_side(&self) -> trace::Side;

    /// Returns `true` if the compute side is another API on the GPU. The host then polls for its
    /// signals, and only [`ensure_alive`](Self::ensure_alive) reports that it has failed.
    fn is_foreign(&self) -> bool;

    /// Returns `true` if the compute side imports the timeline of `signaler`.
    fn imports_timeline(&self, signaler: Signaler) -> bool;

    /// Checks that the compute side still works.
    fn ensure_alive(&self) -> Result<()>;

    /// Returns `true` if the compute side is another API and is lost: none of its work continues.
    fn is_lost(&self) -> bool;

    /// Lets Vulkan continue wherever it waits for a lost compute side: this one, or others on the
    /// same contexts.
    fn release_lost(&self);

    /// Submits work that was recorded but has not been submitted to the GPU yet.
    fn flush(&self) -> Result<()>;
}

/// A timeline semaphore that both sides use. Clones refer to the same semaphore.
#[derive(Clone)]
pub(crate) struct Timeline(Arc<Inner>);

struct Inner {
    vulkan: Semaphore,
    signaler: Signaler,
    history: Arc<History>,
    peer: Arc<dyn Peer>,
    /// Held while the host signals on behalf of the compute side; `true` once it has done so.
    released: Mutex<bool>,
    /// Set before values are signaled on behalf of a lost Vulkan device: the error that reported
    /// the loss.
    lost: OnceLock<vk_export::Error>,
    /// A timeline of the same device that no other process has, if another process signals this
    /// one.
    witness: OnceLock<Timeline>,
    _object: Object,
}

impl Timeline {
    /// Creates one of the two timelines of an exchange.
    pub(crate) fn new(
        device: &ExportDevice,
        peer: Arc<dyn Peer>,
        signaler: Signaler,
        history: &Arc<History>,
    ) -> Result<Self> {
        let name = format!("{}.{}", history.exchange(), signaler.timeline());
        let info =
            SemaphoreInfo { name: &name, kind: SemaphoreKind::Timeline, exportable: peer.imports_timeline(signaler) };
        let vulkan = Semaphore::new(device, &info)?;
        let object = Object::new(Kind::Timeline, &name, trace::Side::Vulkan, None);
        let history = Arc::clone(history);
        let (released, lost, witness) = (Mutex::default(), OnceLock::new(), OnceLock::new());
        Ok(Self(Arc::new(Inner { vulkan, signaler, history, peer, released, lost, witness, _object: object })))
    }

    pub(crate) fn name(&self) -> &str {
        self.0.vulkan.name()
    }

    /// Returns the Vulkan semaphore.
    #[inline]
    pub(crate) fn semaphore(&self) -> &Semaphore {
        &self.0.vulkan
    }

    /// Returns the value that the timeline has reached through signals of its signaler.
    #[inline]
    pub(crate) fn value(&self) -> Result<u64> {
        self.0.value()
    }

    /// Records the signal of `value`, which the signaler has just enqueued. From now on the value
    /// has a point.
    #[inline]
    pub(crate) fn issue(&self, value: u64) {
        self.0.history.record_signal(self.0.signaler, value);
        if trace::is_on() {
            let side = match self.0.signaler {
                Signaler::Compute => self.0.peer.trace_side(),
                Signaler::Queue => trace::Side::Vulkan,
            };
            trace::signal(side, self.name(), value);
        }
    }

    /// Records that the side that does not signal has just enqueued a wait for `value`.
    #[inline]
    pub(crate) fn record_wait(&self, value: u64) {
        self.0.history.record_wait(self.0.signaler, value);
        if trace::is_on() {
            let side = match self.0.signaler {
                Signaler::Compute => trace::Side::Vulkan,
                Signaler::Queue => self.0.peer.trace_side(),
            };
            trace::wait(side, self.name(), value);
        }
    }

    /// Returns the point of the highest value whose signal was enqueued, if any.
    pub(crate) fn last_issued(&self) -> Option<TimelinePoint> {
        let value = self.0.history.last_signal(self.0.signaler);
        (value > 0).then(|| self.point(value))
    }

    /// Like [`wait_value`](Self::wait_value), but also orders memory accesses before the signal
    /// before later accesses of the host. For callers that then read or write mapped memory.
    pub(crate) fn wait_in_order(&self, value: u64, limit: Duration) -> Result<()> {
        self.wait_value(value, limit)?;
        self.order(value)
    }

    /// Makes memory accesses before the signal of `value`, which has been reached, visible to the
    /// host. Reading the counter is not a memory dependency; a wait is, and it returns at once. For
    /// a signal from CUDA there is no wait: Vulkan notices such a signal late, and a wait that
    /// times out orders nothing. The GPU writes the counter of a CUDA signal after everything that
    /// precedes the signal.
    fn order(&self, value: u64) -> Result<()> {
        if self.0.is_signaled_by_foreign() {
            return Ok(());
        }
        match self.0.check_vulkan(value) {
            // Nothing is left to order; other calls return the error.
            Err(error) if error.is_device_lost() => Ok(()),
            ordered => ordered,
        }
    }

    /// Blocks until `value` is reached, for at most `limit`, and checks that the signaler is alive.
    /// May not order memory accesses, which is enough to limit frames in flight and to free
    /// resources.
    pub(crate) fn wait_value(&self, value: u64, limit: Duration) -> Result<()> {
        self.flush()?;
        let inner = &*self.0;
        // The common case when frames in flight are limited; it does not read the clock.
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

    /// Like [`wait_in_order`](Self::wait_in_order), but without spinning.
    pub(crate) fn block_on_value(&self, value: u64, limit: Duration) -> Result<()> {
        let start = Instant::now();
        self.flush()?;
        let inner = &*self.0;
        let reached = || inner.has_reached(value);
        let reached = if inner.is_signaled_by_foreign() {
            wait::poll_sleeping(limit, reached, || inner.check_signaler(value))?
        } else {
            inner.block(value, limit)?
        };
        if reached { self.order(value) } else { Err(self.timed_out(value, start.elapsed())?) }
    }

    /// Submits pending work, so that issued signals reach the GPU.
    fn flush(&self) -> Result<()> {
        match self.0.signaler {
            Signaler::Compute => self.0.peer.flush(),
            Signaler::Queue => Ok(()),
        }
    }

    /// Returns the error of a wait for `value` that timed out.
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

    /// Returns `true` if no more signals will arrive because the compute side, which makes them, is
    /// lost.
    pub(crate) fn is_signaler_lost(&self) -> bool {
        self.0.signaler == Signaler::Compute && self.0.peer.is_lost()
    }

    /// Lets all waits for a lost compute side continue, by signaling the last issued value from the
    /// host. Only the first is logged: another process may set the timeline back repeatedly.
    ///
    /// # Safety
    /// The compute side is this timeline's signaler and makes no more signals: it has failed
    /// permanently ([`Peer::ensure_alive`]), has ended or has closed the exchange. If a signal of a
    /// process that shares the timeline is executed nevertheless, the counter may fall. That only
    /// affects waits for this timeline, and the caller must be able to accept it.
    pub(crate) unsafe fn release(&self) -> Result<()> {
        let traced = trace::Held::new();
        let mut was_released = self.0.released.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: upheld by the caller.
        let released = unsafe { self.release_last() };
        let is_first = matches!(released, Ok(true)) && !std::mem::replace(&mut *was_released, true);
        // The program's logger and trace sink may take any lock.
        drop(was_released);
        drop(traced);
        released?;
        if is_first {
            log_error!("{}: signaled by the host, since its signaler has failed", self.name());
        }
        Ok(())
    }

    /// Signals the last issued value. Returns `true` if the value had not been reached before.
    ///
    /// # Safety
    /// As [`release`](Self::release); no other thread runs this function.
    unsafe fn release_last(&self) -> Result<bool> {
        let Some(point) = self.last_issued() else { return Ok(false) };
        // Nothing waits on a lost device.
        if self.is_abandoned() || point.is_reached()? {
            return Ok(false);
        }
        trace::signal(trace::Side::Host, self.name(), point.value());
        // SAFETY: VUID-VkSemaphoreSignalInfo-value-03258: the value is not reached, and by this
        // function's contract the signaler makes no more signals; -03259 and -03260: pending
        // signals of lower values are the signaler's and will not be executed. If another process
        // signals nevertheless, only waits for this timeline are affected, as there.
        unsafe { host_signal::signal(&self.0.vulkan, point.value()) }?;
        Ok(true)
    }

    /// Signals `value` from the thread of the CPU backend, the only signaler of such a timeline.
    pub(crate) fn signal_from_host(&self, value: u64) -> Result<()> {
        // SAFETY: VUID-VkSemaphoreSignalInfo-value-03259: this timeline's signaler is the CPU
        // backend, whose one thread makes this call; frames are finished in order, so no other
        // signal is pending and the values rise.
        unsafe { host_signal::signal(&self.0.vulkan, value) }
    }
}

/// The longest single wait in Vulkan, and the interval at which another API is checked for a loss.
const MAX_BLOCK: Duration = Duration::from_millis(100);

impl Inner {
    /// Returns `true` if another API signals the timeline. `vkWaitSemaphores` notices such signals
    /// late.
    fn is_signaled_by_foreign(&self) -> bool {
        self.peer.is_foreign() && self.signaler == Signaler::Compute
    }

    /// Checks that neither the compute side nor the Vulkan device is lost. Some drivers report a
    /// lost device only from waits and submissions, while the counter keeps its last value.
    fn check_signaler(&self, value: u64) -> Result<()> {
        self.peer.ensure_alive()?;
        self.check_vulkan(value)
    }

    fn check_vulkan(&self, value: u64) -> Result<()> {
        self.vulkan.try_wait(value, Duration::ZERO)?;
        Ok(())
    }

    /// Blocks in Vulkan until `value` is reached, for at most `limit`. Returns an error if the
    /// compute side is another API and is lost, since the queue may then wait for it forever.
    fn block(&self, value: u64, limit: Duration) -> Result<bool> {
        let (start, foreign) = (Instant::now(), self.peer.is_foreign());
        let waiter = foreign.then(|| Waiter::enter(&wait::WAITERS));
        let mut checked = Duration::ZERO;
        loop {
            let elapsed = start.elapsed();
            let left = limit.saturating_sub(elapsed);
            if waiter.as_ref().is_some_and(|waiter| !waiter.is_alone()) {
                return wait::poll_sleeping(left, || self.has_reached(value), || self.check_signaler(value));
            }
            if self.vulkan.try_wait(value, left.min(if foreign { wait::BLOCK_SLICE } else { MAX_BLOCK }))? {
                return self.check_not_abandoned().map(|()| true);
            }
            if left.is_zero() {
                return Ok(false);
            }
            if foreign && elapsed - checked >= MAX_BLOCK {
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
