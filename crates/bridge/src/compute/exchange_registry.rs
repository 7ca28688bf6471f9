//! Registry of the exchanges of all compute sides, for the loss of a side or of the Vulkan device.
//! A frame of one exchange may follow a frame of another in Vulkan's queue, and several compute
//! sides may share a context, so the outstanding signals of all lost sides are signaled together.
//! The same holds for a lost Vulkan device: CUDA frees nothing while any stream of a context waits.
#![allow(unsafe_code)] // Signals in place of a lost side.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::Compute;
use super::cuda::CudaLink;
use super::side::Side;
use crate::error::Result;
use crate::observe::log_hold::LogHold;
use crate::observe::{log_error, log_warn};
use crate::timeline::{Timeline, TimelinePoint};

/// Limit on the wait for a signal that no other work precedes.
const LIMIT: Duration = Duration::from_secs(1);

/// The live or leaked exchanges whose compute sides have contexts.
static EXCHANGES: Mutex<Vec<RegisteredExchange>> = Mutex::new(Vec::new());

struct RegisteredExchange {
    /// The contexts of its compute side, which the exchange keeps alive.
    contexts: Vec<usize>,
    signaled: Weak<ExchangeTimelines>,
}

/// The timelines of an exchange, for signaling in place of a lost side.
pub(crate) struct ExchangeTimelines {
    computed: Timeline,
    rendered: Timeline,
    /// The link that CUDA waits for `rendered` with, while the exchange lives.
    link: Weak<CudaLink>,
    /// The signals made in place of a lost Vulkan device.
    released: Mutex<Released>,
    /// Set when the compute side was found to have failed.
    failed: Arc<AtomicBool>,
}

#[derive(Default)]
struct Released {
    /// The last value of `rendered` that was signaled.
    value: u64,
    /// `true` if a signal has failed. Only the first failure is logged.
    has_failed: bool,
}

impl ExchangeTimelines {
    pub(crate) fn new(
        [computed, rendered]: [&Timeline; 2],
        link: Weak<CudaLink>,
        failed: &Arc<AtomicBool>,
    ) -> Arc<Self> {
        let (computed, rendered, failed) = (computed.clone(), rendered.clone(), Arc::clone(failed));
        Arc::new(Self { computed, rendered, link, released: Mutex::default(), failed })
    }

    /// Marks both timelines as abandoned: no point counts as reached from here on.
    fn abandon(&self, loss: &vk_export::Error) {
        self.rendered.abandon(loss);
        self.computed.abandon(loss);
    }

    /// Unblocks CUDA work that waits for Vulkan.
    ///
    /// # Safety
    /// The Vulkan device is lost: it will not execute any more signals.
    unsafe fn release_waits(&self) {
        // Created before the lock is taken, so that the link and the held log lines are dropped
        // after its release.
        let Some(link) = self.link.upgrade() else { return };
        let held = LogHold::new();
        let mut released = self.released.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(last) = self.rendered.last_issued() else { return };
        // CUDA only waits for issued values. A lost device may report any counter value, or none,
        // but it reports this one only if it was reached.
        let value = last.value();
        if released.value >= value || self.rendered.counter().is_ok_and(|reached| reached == value) {
            return;
        }
        // SAFETY: "the value is greater than every value signaled or pending": no higher value was
        // issued, and pending signals are not executed, by this function's contract. If the counter
        // cannot be read, this value may have been reached; then no wait for it is left, and a lost
        // device does not read the counter any more.
        let signaled = unsafe { link.signal_rendered(value) };
        let is_news = match &signaled {
            Ok(_) => {
                released.value = value;
                true
            }
            // Nothing was enqueued, so the next call tries again.
            Err(_) => !std::mem::replace(&mut released.has_failed, true),
        };
        // The logger may take any lock.
        drop(released);
        drop(held);
        let name = self.rendered.name();
        match signaled {
            Ok(end) => {
                log_error!("{name}: signaled by CUDA, since the Vulkan device is lost");
                if !end.is_none_or(|end| end.wait(LIMIT).unwrap_or(true)) {
                    log_warn!("{name}: that signal has not completed within {LIMIT:?}");
                }
            }
            Err(error) if is_news => {
                log_error!("{name}: the compute stream may hang, unless the next attempt succeeds: {error}");
            }
            Err(_) => {}
        }
    }

    /// Unblocks Vulkan work that waits for the compute side.
    ///
    /// # Errors
    /// The error of the signal, which is also logged; the Vulkan queue may then wait forever.
    ///
    /// # Safety
    /// The contract of [`Timeline::release`].
    pub(crate) unsafe fn release(&self) -> Result<()> {
        // Stored before the host signals in place of CUDA, so that no other thread takes the frame
        // for finished.
        self.failed.store(true, Ordering::Release);
        // SAFETY: the caller upholds the same contract.
        let released = unsafe { self.computed.release() };
        if let Err(error) = &released {
            log_error!("{}: the Vulkan queue may hang: {error}", self.computed.name());
        }
        released
    }

    /// Waits until `point`, the last one of `computed`, is reached, for at most `limit`. If the
    /// compute side is lost, signals it in its place.
    fn end_signals(&self, point: &TimelinePoint, limit: Duration) -> Result<()> {
        match point.wait_blocking(limit) {
            Err(_) if self.computed.is_signaler_lost() => {
                // SAFETY: the context that signals the timeline is permanently lost, and no work of
                // the side continues.
                unsafe { self.release() }
            }
            waited => waited,
        }
    }
}

impl Compute {
    /// Waits until CUDA has made the signals of all frames to date, for at most `timeout`. It
    /// covers the exchanges on this Vulkan device of all compute sides in the same context. With
    /// [`Backend::Host`] and [`Backend::Inline`] there is nothing to wait for.
    ///
    /// After `Ok`, no frame in Vulkan's queue waits for CUDA, so a wait without a limit that cannot
    /// be avoided, such as one in an engine's code, ends once Vulkan has done its own work. If a
    /// kernel has faulted, the host makes the signals in CUDA's place, and the next call to the
    /// exchange returns the fault.
    ///
    /// If a [`group`](Self::group) has lost only its leading GPU, the others may still use the
    /// resources, and the host does not signal: this returns the fault until
    /// [`Exchange::begin`](crate::Exchange::begin) was called, or the exchange was closed or
    /// dropped, which wait for those GPUs.
    ///
    /// # Errors
    /// The first error, after all exchanges were waited for:
    /// [`Error::Timeout`](crate::Error::Timeout), which names an exchange, if kernels have not
    /// ended within the timeout; or the error of the failed driver call, such as that of the host's
    /// signal. Frames in Vulkan's queue may then still wait for CUDA.
    ///
    /// [`Backend::Host`]: crate::Backend::Host
    /// [`Backend::Inline`]: crate::Backend::Inline
    pub fn wait_for_signals(&self, timeout: Duration) -> Result<()> {
        let mut all = exchanges_on_contexts_of(self.side());
        // Another device may be lost, which this one's queue does not notice.
        all.retain(|one| one.computed.is_on(self.device()));
        end_all_signals(&all, timeout)
    }

    /// Registers an exchange, so that its timeline is released once its compute side is lost.
    pub(crate) fn register(&self, signaled: &Arc<ExchangeTimelines>) {
        let contexts = self.side().contexts();
        if contexts.is_empty() {
            return;
        }
        let mut exchanges = EXCHANGES.lock().unwrap_or_else(PoisonError::into_inner);
        exchanges.retain(|exchange| exchange.signaled.strong_count() > 0);
        exchanges.push(RegisteredExchange { contexts, signaled: Arc::downgrade(signaled) });
    }
}

/// Unblocks all Vulkan work that waits for a lost compute side that has a context in common with
/// `side`. The state of each exchange's own side is queried.
pub(crate) fn release_lost(side: &Side) {
    for one in exchanges_on_contexts_of(side).iter().filter(|one| one.computed.is_signaler_lost()) {
        // SAFETY: the context that signals the timeline is permanently lost, and no work of the
        // side continues.
        let released = unsafe { one.release() };
        // `release` has logged an error. The next call tries again.
        drop(released);
    }
}

/// Waits, for at most `limit`, until all signals of these exchanges have been made that Vulkan may
/// wait for. Signals of a lost side are made in its place, also after an error of another exchange.
/// Returns the first error.
fn end_all_signals(all: &[Arc<ExchangeTimelines>], limit: Duration) -> Result<()> {
    let start = Instant::now();
    let mut ended = Ok(());
    for one in all {
        let Some(last) = one.computed.last_issued() else { continue };
        ended = ended.and(one.end_signals(&last, limit.saturating_sub(start.elapsed())));
    }
    ended
}

/// Unblocks all CUDA work, in the contexts of `side`, that waits for the Vulkan device of `lost`, a
/// timeline of an exchange of that side.
///
/// # Safety
/// The device is lost, as `loss` reports.
pub(crate) unsafe fn release_waits(side: &Side, lost: &Timeline, loss: &vk_export::Error) {
    let mut all = exchanges_on_contexts_of(side);
    all.retain(|one| one.rendered.is_same_device(lost));
    // Done before the first signal: CUDA work after the signal follows frames that were never
    // drawn, and may belong to any of the exchanges.
    all.iter().for_each(|one| one.abandon(loss));
    for one in &all {
        // SAFETY: the caller upholds the contract.
        unsafe { one.release_waits() };
    }
}

/// Returns the exchanges that have a context in common with `side`. The registry lock is released
/// by then: releasing logs, and dropping the result may drop the last reference to an exchange.
fn exchanges_on_contexts_of(side: &Side) -> Vec<Arc<ExchangeTimelines>> {
    let contexts = side.contexts();
    let exchanges = EXCHANGES.lock().unwrap_or_else(PoisonError::into_inner);
    let common = exchanges.iter().filter(|exchange| exchange.contexts.iter().any(|one| contexts.contains(one)));
    common.filter_map(|exchange| exchange.signaled.upgrade()).collect()
}

#[cfg(all(test, target_os = "linux", feature = "remote"))]
#[path = "exchange_registry_tests.rs"]
mod tests;
