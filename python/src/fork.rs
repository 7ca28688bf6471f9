//! Detection of objects of a parent process in a forked child, where they cannot be used.
//!
//! Vulkan and CUDA do not support forking, and their threads are missing in the child: driver calls
//! there hang or crash.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::{Fault, Kind};

/// Advice for programs that use views in several processes.
pub(crate) const SPAWN: &str = "start the processes with multiprocessing's method \"spawn\"";

/// The process that first called a driver; 0 before that.
static FIRST: AtomicU32 = AtomicU32::new(0);

/// The process in which an object was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process(u32);

impl Process {
    pub(crate) fn current() -> Self {
        Self(std::process::id())
    }

    /// Returns `true` if the current process is a different one, which is a forked child.
    pub(crate) fn is_child(self) -> bool {
        self != Self::current()
    }

    /// Returns an error in a forked child. `what` names the object.
    pub(crate) fn check(self, what: &str) -> Result<(), Fault> {
        if !self.is_child() {
            return Ok(());
        }
        let Self(parent) = self;
        Err(Fault::new(
            Kind::Usage,
            format!(
                "the {what} was made in process {parent} and cannot be used in a forked child: {SPAWN}, and make views there"
            ),
        ))
    }

    /// Returns the process that first called this, before a driver was called.
    pub(crate) fn of_drivers() -> Self {
        let Self(current) = Self::current();
        match FIRST.compare_exchange(0, current, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => Self(current),
            Err(first) => Self(first),
        }
    }

    /// Returns an error if this is a forked child of a process that has called a driver. A child of
    /// a process that only imported the package may call drivers.
    pub(crate) fn check_drivers() -> Result<(), Fault> {
        let first = FIRST.load(Ordering::Relaxed);
        if first == 0 || !Self(first).is_child() {
            return Ok(());
        }
        Err(Fault::new(
            Kind::Usage,
            format!(
                "this process was forked from process {first}, which had called a GPU driver, and Vulkan and CUDA cannot \
                 be used after a fork: {SPAWN}, or open no view before the fork, not even one that fails"
            ),
        ))
    }
}
