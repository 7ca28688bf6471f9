//! Exchanges of all compute sides. A frame of one may be behind a frame of another in Vulkan's queue,
//! and several compute sides may be on one context, so that what lost ones owe is signaled for all.
//! So is what a lost Vulkan device owes: CUDA frees nothing while any stream of a context waits.
#![allow(unsafe_code)] // Signals in place of a lost side.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::Compute;
use super::cuda::CudaLink;
use super::side::Side;
use crate::observe::log_hold::LogHold;
use crate::observe::{log_error, log_warn};
use crate::timeline::Timeline;

/// The longest wait for the end of a signal that nothing is before.
const LIMIT: Duration = Duration::from_secs(1);

/// The exchanges that are alive, or leaked, whose compute sides have contexts.
static SIBLINGS: Mutex<Vec<Sibling>> = Mutex::new(Vec::new());

struct Sibling {
    /// Those of its compute side, which it keeps.
    contexts: Vec<usize>,
    signaled: Weak<Signaled>,
}

/// The timelines of an exchange, for whoever signals in place of a side that is lost.
pub(crate) struct Signaled {
    computed: Timeline,
    rendered: Timeline,
    /// What CUDA waits with for `rendered`, while the exchange lives.
    link: Weak<CudaLink>,
    /// What was signaled in place of a lost Vulkan device.
    released: Mutex<Released>,
    /// The compute side was seen to have failed.
    failed: Arc<AtomicBool>,
}

#[derive(Default)]
struct Released {
    /// The value of `rendered`.
    value: u64,
    /// A signal has failed: once is enough to say so.
    has_failed: bool,
}

impl Signaled {
    pub(crate) fn new(
        [computed, rendered]: [&Timeline; 2],
        link: Weak<CudaLink>,
        failed: &Arc<AtomicBool>,
    ) -> Arc<Self> {
        let (computed, rendered, failed) = (computed.clone(), rendered.clone(), Arc::clone(failed));
        Arc::new(Self { computed, rendered, link, released: Mutex::default(), failed })
    }

    /// Makes no point of either timeline count as reached from here on.
    fn abandon(&self, loss: &vk_export::Error) {
        self.rendered.abandon(loss);
        self.computed.abandon(loss);
    }

    /// Lets CUDA go on that waits for Vulkan.
    ///
    /// # Safety
    /// The Vulkan device is lost: none of its signals will come any more.
    unsafe fn release_waits(&self) {
        // Before the lock, and so dropped behind it: what is logged meanwhile, and the link.
        let Some(link) = self.link.upgrade() else { return };
        let held = LogHold::new();
        let mut released = self.released.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(last) = self.rendered.last_issued() else { return };
        // CUDA waits for issued values only. A lost device may report any value, or none, but not
        // this one, unless it was reached.
        let value = last.value();
        if released.value >= value || self.rendered.counter().is_ok_and(|reached| reached == value) {
            return;
        }
        // SAFETY: "the value is greater than every value signaled or pending": no higher one was
        // issued, and what is pending does not come, by this function's contract. If the counter
        // cannot be read, this one may have been reached; then no wait for it is left, and nothing
        // of a lost device reads the counter any more.
        let signaled = unsafe { link.signal_rendered(value) };
        let is_news = match &signaled {
            Ok(_) => {
                released.value = value;
                true
            }
            // Nothing was enqueued, so that the next call tries again.
            Err(_) => !std::mem::replace(&mut released.has_failed, true),
        };
        // What is logged may take any lock.
        drop(released);
        drop(held);
        let name = self.rendered.name();
        match signaled {
            Ok(end) => {
                log_error!("{name}: signaled by CUDA, since the Vulkan device is lost");
                if !end.is_none_or(|end| end.wait(LIMIT).unwrap_or(true)) {
                    log_warn!("{name}: that signal has not ended within {LIMIT:?}");
                }
            }
            Err(error) if is_news => {
                log_error!("{name}: the compute stream may hang, unless the next attempt succeeds: {error}");
            }
            Err(_) => {}
        }
    }

    /// Lets Vulkan go on that waits for the compute side.
    ///
    /// # Safety
    /// As [`Timeline::release`].
    pub(crate) unsafe fn release(&self) {
        // Before the host signals what CUDA did not: no other thread may take a frame for finished.
        self.failed.store(true, Ordering::Release);
        // SAFETY: the same contract.
        if let Err(error) = unsafe { self.computed.release() } {
            log_error!("{}: the Vulkan queue may hang: {error}", self.computed.name());
        }
    }
}

impl Compute {
    /// Has the exchange's timeline released once nothing of its compute side goes on.
    pub(crate) fn register(&self, signaled: &Arc<Signaled>) {
        let contexts = self.side().contexts();
        if contexts.is_empty() {
            return;
        }
        let mut siblings = SIBLINGS.lock().unwrap_or_else(PoisonError::into_inner);
        siblings.retain(|sibling| sibling.signaled.strong_count() > 0);
        siblings.push(Sibling { contexts, signaled: Arc::downgrade(signaled) });
    }
}

/// Lets Vulkan go on wherever it waits for a compute side of which nothing goes on, among those
/// that have a context in common with `side`. Each exchange's own side is asked.
pub(crate) fn release_lost(side: &Side) {
    for one in on_contexts_of(side).iter().filter(|one| one.computed.is_deserted()) {
        // SAFETY: the context that signals it is lost for good, and nothing of the side goes on.
        unsafe { one.release() };
    }
}

/// Lets CUDA go on wherever it waits for the Vulkan device of `lost`, a timeline of an exchange of
/// `side`, in the contexts of that side.
///
/// # Safety
/// The device is lost, as `loss` says.
pub(crate) unsafe fn release_waits(side: &Side, lost: &Timeline, loss: &vk_export::Error) {
    let mut all = on_contexts_of(side);
    all.retain(|one| one.rendered.is_of_device_of(lost));
    // Before the first signal: what CUDA does behind it is behind frames that were never drawn, and
    // may be for any of the exchanges.
    all.iter().for_each(|one| one.abandon(loss));
    for one in &all {
        // SAFETY: handed on to the caller.
        unsafe { one.release_waits() };
    }
}

/// The exchanges that have a context in common with `side`. They are not locked: what is released
/// is logged, and the last of an exchange may go with the result.
fn on_contexts_of(side: &Side) -> Vec<Arc<Signaled>> {
    let contexts = side.contexts();
    let siblings = SIBLINGS.lock().unwrap_or_else(PoisonError::into_inner);
    let common = siblings.iter().filter(|sibling| sibling.contexts.iter().any(|one| contexts.contains(one)));
    common.filter_map(|sibling| sibling.signaled.upgrade()).collect()
}
