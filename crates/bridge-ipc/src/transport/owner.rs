//! The process to which an object belongs. A forked child only has a copy of the object.
#![allow(unsafe_code)] // Registers a handler of forks.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::error::{Error, Result};

/// The process that created an object. A forked child has a copy of the object, but must not use
/// what both processes share, such as a socket.
#[derive(Debug, Clone, Copy)]
pub struct Owner {
    pid: u32,
    generation: u32,
}

impl Owner {
    /// Returns this process.
    pub fn current() -> Self {
        Self { pid: std::process::id(), generation: generation() }
    }

    /// Returns `true` in a process that was forked from the owner, directly or not. Makes no system
    /// call. Does not detect a child that was created by a system call without the C library.
    pub fn is_forked(self) -> bool {
        self.generation != generation()
    }

    /// Checks that this process is the owner.
    ///
    /// # Errors
    /// [`Error::Forked`] for the `object` otherwise.
    pub fn check(self, object: impl FnOnce() -> String) -> Result<()> {
        if self.is_forked() {
            return Err(Error::Forked { object: object(), owner: self.pid });
        }
        Ok(())
    }
}

/// Number of forks between the process that registered [`in_child`] and this one.
static GENERATION: AtomicU32 = AtomicU32::new(0);

static REGISTERED: AtomicBool = AtomicBool::new(false);

/// Returns a number that differs from that of each process from which this one was forked.
fn generation() -> u32 {
    if !REGISTERED.load(Ordering::Acquire) {
        register();
    }
    GENERATION.load(Ordering::Relaxed)
}

/// Registers [`in_child`]. Several threads may do so at once: a fork then counts more than once.
#[cold]
fn register() {
    // SAFETY: `in_child` is async-signal-safe, as required in the child of a process with threads
    // (POSIX, `fork`): it only changes an atomic number.
    let result = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    // It fails only without memory; then the next call tries again.
    if result == 0 {
        REGISTERED.store(true, Ordering::Release);
    }
}

/// Called by the C library in each forked child.
unsafe extern "C" fn in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}
