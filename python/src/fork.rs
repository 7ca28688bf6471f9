//! Objects of a parent process in a forked child, where they cannot be used.
//!
//! Neither Vulkan nor CUDA survives a fork, and threads of theirs are missing in the child: a call
//! there hangs or crashes.

use crate::error::{Fault, Kind};

/// The process in which something was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process(u32);

impl Process {
    pub(crate) fn current() -> Self {
        Self(std::process::id())
    }

    /// Returns `true` in another process: a forked child.
    pub(crate) fn is_child(self) -> bool {
        self != Self::current()
    }

    /// Refuses a call in a child. `what` is the object.
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
