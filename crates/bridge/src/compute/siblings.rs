//! Exchanges of all compute sides. A frame of one may be behind a frame of another in Vulkan's queue,
//! and several compute sides may be on one context, so that what lost ones owe is signaled for all.
#![allow(unsafe_code)] // Signals in place of a lost side.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::Compute;
use super::side::Side;
use crate::observe::log_error;
use crate::timeline::Timeline;

/// The exchanges that are alive, or leaked, whose compute sides have contexts.
static SIBLINGS: Mutex<Vec<Sibling>> = Mutex::new(Vec::new());

struct Sibling {
    /// Those of its compute side, which it keeps.
    contexts: Vec<usize>,
    signaled: Weak<Signaled>,
}

/// The timeline of an exchange that its compute side signals.
pub(crate) struct Signaled {
    computed: Timeline,
    /// The compute side was seen to have failed.
    failed: Arc<AtomicBool>,
}

impl Signaled {
    pub(crate) fn new(computed: &Timeline, failed: &Arc<AtomicBool>) -> Arc<Self> {
        Arc::new(Self { computed: computed.clone(), failed: Arc::clone(failed) })
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
    let contexts = side.contexts();
    let siblings = SIBLINGS.lock().unwrap_or_else(PoisonError::into_inner);
    let common = siblings.iter().filter(|sibling| sibling.contexts.iter().any(|one| contexts.contains(one)));
    let signaled: Vec<_> = common.filter_map(|sibling| sibling.signaled.upgrade()).collect();
    // What is released is logged, and the last of an exchange may go here.
    drop(siblings);
    for one in signaled.iter().filter(|one| one.computed.is_deserted()) {
        // SAFETY: the context that signals it is lost for good, and nothing of the side goes on.
        unsafe { one.release() };
    }
}
