//! Exchanges of all compute sides. A frame of one may be behind a frame of another in Vulkan's queue,
//! and several compute sides may be on one context, so that what lost ones owe is signalled for all.
#![allow(unsafe_code)] // Signals in place of a lost side.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::Compute;
use crate::observe::log_error;
use crate::timeline::Timeline;

/// The timelines of the exchanges that are alive, beside sides that can be lost alone.
static SIBLINGS: Mutex<Vec<Weak<Signalled>>> = Mutex::new(Vec::new());

/// The timeline of an exchange that its compute side signals.
pub(crate) struct Signalled {
    computed: Timeline,
    /// The compute side was seen to have failed.
    failed: Arc<AtomicBool>,
}

impl Signalled {
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
            log_error!("{}: Vulkan may wait for ever: {error}", self.computed.name());
        }
    }
}

impl Compute {
    /// Has the exchange's timeline released once nothing of its compute side goes on.
    pub(crate) fn register(&self, signalled: &Arc<Signalled>) {
        if !self.side().is_foreign() {
            return;
        }
        let mut siblings = SIBLINGS.lock().unwrap_or_else(PoisonError::into_inner);
        siblings.retain(|sibling| sibling.strong_count() > 0);
        siblings.push(Arc::downgrade(signalled));
    }
}

/// Lets Vulkan go on wherever it waits for a compute side of which nothing goes on, whoever has
/// noticed. Each exchange's own side is asked.
pub(crate) fn release_lost() {
    let siblings = SIBLINGS.lock().unwrap_or_else(PoisonError::into_inner);
    let signalled: Vec<_> = siblings.iter().filter_map(Weak::upgrade).collect();
    // What is released is logged, and the last of an exchange may go here.
    drop(siblings);
    for one in signalled.iter().filter(|one| one.computed.is_deserted()) {
        // SAFETY: the context that signals it is lost for good, and nothing of the side goes on.
        unsafe { one.release() };
    }
}
