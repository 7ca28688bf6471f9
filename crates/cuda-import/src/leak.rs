//! A counter of leaked objects.

use std::sync::atomic::{AtomicU64, Ordering};

static LEAKS: AtomicU64 = AtomicU64::new(0);

/// Returns the number of objects of this crate that this process has leaked, because they were in
/// use or the driver failed to destroy them: mappings with their memory, imported memory,
/// semaphores, graphs and kernel modules, and context objects that the program has cloned out of a
/// guard and kept. The log names each.
pub fn leaks() -> u64 {
    LEAKS.load(Ordering::Relaxed)
}

pub(crate) fn count_leak() {
    LEAKS.fetch_add(1, Ordering::Relaxed);
}
