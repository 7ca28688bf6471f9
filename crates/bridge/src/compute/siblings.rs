//! Exchanges of one compute side, those beside it included. A frame of one may be behind a frame of
//! another in Vulkan's queue, so that what a lost compute side owes is signalled for all of them.
#![allow(unsafe_code)] // Signals in place of a lost side.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use vk_export::ExportDevice;

use super::side::Side;
use super::{Compute, Inner};
use crate::observe::log_error;
use crate::timeline::Timeline;

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

/// The timelines of the exchanges that are alive. Cloning it gives the same ones.
#[derive(Clone, Default)]
pub(super) struct Siblings(Arc<Mutex<Vec<Weak<Signalled>>>>);

impl Inner {
    pub(super) fn new(side: Side, device: ExportDevice, reason: String) -> Arc<Self> {
        Arc::new(Self { side, device, reason, siblings: Siblings::default() })
    }

    /// With another side on the same contexts, which are lost together.
    pub(super) fn beside(&self, side: Side) -> Arc<Self> {
        let (device, reason, siblings) = (self.device.clone(), self.reason.clone(), self.siblings.clone());
        Arc::new(Self { side, device, reason, siblings })
    }
}

impl Compute {
    /// Has the exchange's timeline released with those of the others.
    pub(crate) fn register(&self, signalled: &Arc<Signalled>) {
        let mut siblings = self.0.siblings.0.lock().unwrap_or_else(PoisonError::into_inner);
        siblings.retain(|sibling| sibling.strong_count() > 0);
        siblings.push(Arc::downgrade(signalled));
    }

    /// Releases the timelines of all exchanges.
    ///
    /// # Safety
    /// As [`Timeline::release`], for every exchange: the compute side is lost for good, and nothing
    /// of it goes on.
    pub(crate) unsafe fn release_all(&self) {
        let siblings = self.0.siblings.0.lock().unwrap_or_else(PoisonError::into_inner);
        let signalled: Vec<_> = siblings.iter().filter_map(Weak::upgrade).collect();
        // What is released is logged, and the last of an exchange may go here.
        drop(siblings);
        // SAFETY: the same contract.
        signalled.iter().for_each(|one| unsafe { one.release() });
    }
}
