//! A guard that counts an object and traces its creation and destruction.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::observe::live;
use crate::observe::live::{Alive, Kind};
use crate::observe::log_error;
use crate::observe::trace;

/// A guard owned by an object. It counts the object as alive, and records the object's creation and
/// destruction in the trace.
///
/// Forgetting the guard keeps the object counted.
#[derive(Debug)]
pub(crate) struct Object {
    name: String,
    /// `true` if the object is counted as leaked.
    leaked: AtomicBool,
    alive: Alive,
}

impl Object {
    /// Records the creation of the object `name`. `side` is the compute side that it is for, or
    /// Vulkan; `bytes` is its size, if it has one.
    pub(crate) fn new(kind: Kind, name: &str, side: trace::Side, bytes: Option<u64>) -> Self {
        trace::create(side, name, bytes);
        Self { name: name.to_owned(), leaked: AtomicBool::new(false), alive: Alive::new(kind) }
    }

    /// Counts the object as leaked because its mapping on the compute side could not be freed, and
    /// logs `error`. The caller then forgets the object.
    pub(crate) fn report_leak(&self, error: &dyn Display) {
        self.note_leaked();
        log_error!("{} \"{}\" is leaked on both sides: {error}", self.alive.kind(), self.name);
    }

    /// Counts the object as leaked. Only the first call has an effect.
    pub(crate) fn note_leaked(&self) {
        if !self.leaked.swap(true, Ordering::Relaxed) {
            live::leaked(self.alive.kind(), 1);
        }
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        trace::destroy(&self.name);
    }
}
