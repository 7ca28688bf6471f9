//! Detection of objects of a parent process in a forked child, where they cannot be used.
//!
//! Vulkan and CUDA do not support forking, and their threads are missing in the child: driver calls
//! there hang or crash.

use crate::error::{Fault, Kind};

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
                "the {what} was made in process {parent} and cannot be used in a forked child; make it there, or start processes \
                 with multiprocessing's method \"spawn\""
            ),
        ))
    }
}
