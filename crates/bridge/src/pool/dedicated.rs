//! Buffers of a pool that have dedicated memory instead of a place in a block.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crate::observe::log_info;

/// Count and size of the buffers of one pool that have dedicated memory.
#[derive(Debug, Default)]
pub(super) struct DedicatedTotal {
    buffers: AtomicUsize,
    bytes: AtomicU64,
    logged: AtomicBool,
}

impl DedicatedTotal {
    /// Returns the number of buffers and their bytes.
    pub(super) fn now(&self) -> (usize, u64) {
        (self.buffers.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }

    /// Logs on the first call that large buffers get dedicated memory from now on.
    pub(super) fn log_once(&self, pool: &str) {
        if !self.logged.swap(true, Ordering::Relaxed) {
            log_info!(
                "shared pool \"{pool}\": the device's pools have blocks of 512 MiB; from now on, buffers of 1 MiB or \
                 more that do not fit get dedicated memory, which keeps random reads fast but costs one import each"
            );
        }
    }
}

/// A buffer with dedicated memory, counted in the total.
#[derive(Debug)]
pub(crate) struct DedicatedMemory {
    total: Arc<DedicatedTotal>,
    size: u64,
}

impl DedicatedMemory {
    pub(super) fn new(total: &Arc<DedicatedTotal>, size: u64) -> Self {
        total.buffers.fetch_add(1, Ordering::Relaxed);
        total.bytes.fetch_add(size, Ordering::Relaxed);
        Self { total: Arc::clone(total), size }
    }
}

impl Drop for DedicatedMemory {
    fn drop(&mut self) {
        self.total.buffers.fetch_sub(1, Ordering::Relaxed);
        self.total.bytes.fetch_sub(self.size, Ordering::Relaxed);
    }
}
