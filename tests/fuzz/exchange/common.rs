//! State shared by the exchanges of a case.
#![allow(clippy::unwrap_used)] // A failure here fails the case.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bridge::{Backend, Compute, ExportDevice, LiveObjects, QueueKind};
use bridge_fuzz::Counts;
use bridge_tests::Rig;

use crate::inline::Checks;
use crate::planted::patience;
use crate::transfer::Transfer;

/// A compute side, and whether the model considers it failed.
#[derive(Clone)]
pub(crate) struct Side {
    pub(crate) compute: Compute,
    pub(crate) failed: Arc<AtomicBool>,
}

impl Side {
    pub(crate) fn new(device: &ExportDevice, backend: Backend) -> Self {
        let compute = match backend {
            Backend::Inline => Compute::inline(device, QueueKind::Graphics),
            backend => Compute::new(device, backend),
        };
        Self { compute: compute.unwrap(), failed: Arc::default() }
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::SeqCst)
    }
}

/// State shared by everything in a case.
#[derive(Clone)]
pub(crate) struct Common {
    pub(crate) device: ExportDevice,
    pub(crate) idle: Arc<Mutex<Vec<Transfer>>>,
    /// Differences that closures found.
    pub(crate) faults: Arc<Mutex<Vec<String>>>,
    pub(crate) counts: Arc<Mutex<Counts>>,
    /// Values that recorded work reads.
    pub(crate) checks: Arc<Checks>,
    tags: Arc<AtomicU32>,
}

impl Common {
    pub(crate) fn new(device: &ExportDevice) -> Self {
        Self {
            device: device.clone(),
            idle: Arc::default(),
            faults: Arc::default(),
            counts: Arc::default(),
            checks: Arc::new(Checks::new(device)),
            tags: Arc::default(),
        }
    }

    pub(crate) fn count(&self, what: &'static str) {
        self.counts.lock().unwrap().add(what);
    }

    /// Returns a new tag each time, with a value that memory is unlikely to contain by chance.
    pub(crate) fn tag(&self) -> u32 {
        0x5eed_0001 + self.tags.fetch_add(1, Ordering::SeqCst)
    }

    pub(crate) fn transfer(&self) -> Transfer {
        let idle = self.idle.lock().unwrap().pop();
        idle.unwrap_or_else(|| Transfer::new(&self.device))
    }

    pub(crate) fn assert_no_faults(&self) {
        let faults = std::mem::take(&mut *self.faults.lock().unwrap());
        assert!(faults.is_empty(), "closures found: {faults:#?}");
    }
}

/// Waits until the live objects satisfy `is_so`, because closures may be the last owners of some.
pub(crate) fn settle(what: &str, is_so: impl Fn(&LiveObjects) -> bool) {
    let start = Instant::now();
    loop {
        let now = LiveObjects::now();
        if is_so(&now) {
            return;
        }
        assert!(start.elapsed() < patience(Rig::LONG), "alive are {now}, where the model has {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Objects that a case deliberately keeps alive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) exchanges: usize,
    pub(crate) turns: usize,
    pub(crate) buffers: usize,
    pub(crate) images: usize,
    pub(crate) timelines: usize,
    pub(crate) leaked_buffers: usize,
    pub(crate) leaked_images: usize,
    pub(crate) leaked_timelines: usize,
    /// `true` if buffers of pools are among them.
    pub(crate) pooled: bool,
}

impl Kept {
    pub(crate) fn add(&mut self, other: &Self) {
        self.exchanges += other.exchanges;
        self.turns += other.turns;
        self.buffers += other.buffers;
        self.images += other.images;
        self.timelines += other.timelines;
        self.leaked_buffers += other.leaked_buffers;
        self.leaked_images += other.leaked_images;
        self.leaked_timelines += other.leaked_timelines;
        self.pooled |= other.pooled;
    }

    /// Returns `true` if exactly these objects are alive in addition to `before`.
    pub(crate) fn is_all(&self, before: &LiveObjects, now: &LiveObjects) -> bool {
        let counts = [
            (now.exchanges, before.exchanges + self.exchanges),
            (now.turns, before.turns + self.turns),
            (now.buffers, before.buffers + self.buffers),
            (now.images, before.images + self.images),
            (now.timelines, before.timelines + self.timelines),
            (now.leaked_buffers, before.leaked_buffers + self.leaked_buffers),
            (now.leaked_images, before.leaked_images + self.leaked_images),
            (now.leaked_timelines, before.leaked_timelines + self.leaked_timelines),
        ];
        counts.iter().all(|(now, expected)| now == expected) && (now.blocks > before.blocks) == self.pooled
    }
}
