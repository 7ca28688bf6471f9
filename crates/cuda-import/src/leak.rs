//! How many objects were given up.

use std::sync::atomic::{AtomicU64, Ordering};

static LEAKS: AtomicU64 = AtomicU64::new(0);

/// How many objects of this crate were given up in this process so far, because they were in use or
/// the driver would not destroy them: mappings with the memory that they lie in, imported memory,
/// semaphores, graphs and modules of kernels. The log names each.
pub fn leaks() -> u64 {
    LEAKS.load(Ordering::Relaxed)
}

pub(crate) fn count_leak() {
    LEAKS.fetch_add(1, Ordering::Relaxed);
}
