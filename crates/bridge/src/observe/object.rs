//! One guard per object: counted and traced from its creation to its destruction.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::observe::live;
use crate::observe::live::{Alive, Kind};
use crate::observe::log_error;
use crate::observe::trace;
use crate::observe::trace::Event;

/// Marks the object that owns it as alive: it is counted, and its creation and destruction are in
/// the trace.
///
/// Forgetting the guard keeps the object counted.
#[derive(Debug)]
pub(crate) struct Object {
    name: String,
    /// It is counted as leaked.
    leaked: AtomicBool,
    alive: Alive,
}

impl Object {
    /// The object `name` was just made, of `bytes` where that says something, for the compute side
    /// or by Vulkan.
    pub(crate) fn new(kind: Kind, name: &str, side: &'static str, bytes: Option<u64>) -> Self {
        trace::event(Event::new("create", side, name).bytes(bytes));
        Self { name: name.to_owned(), leaked: AtomicBool::new(false), alive: Alive::new(kind) }
    }

    /// Counts the object as leaked, since its mapping on the compute side could not be freed. The
    /// caller forgets it.
    pub(crate) fn report_leak(&self, error: &dyn Display) {
        self.note_leaked();
        log_error!("{} \"{}\" is leaked on both sides: {error}", self.alive.kind(), self.name);
    }

    /// Counts the object as leaked, once, however much keeps it that is.
    pub(crate) fn note_leaked(&self) {
        if !self.leaked.swap(true, Ordering::Relaxed) {
            live::leaked(self.alive.kind(), 1);
        }
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        trace::event(Event::new("destroy", "vulkan", &self.name));
    }
}
