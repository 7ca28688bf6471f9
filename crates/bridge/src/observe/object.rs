//! One guard per object: counted and traced from its creation to its destruction.

use std::fmt::Display;

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
    alive: Alive,
}

impl Object {
    /// The object `name` was just made, of `bytes` where that says something, for the compute side
    /// or by Vulkan.
    pub(crate) fn new(kind: Kind, name: &str, side: &'static str, bytes: Option<u64>) -> Self {
        trace::event(Event::new("create", side, name).bytes(bytes));
        Self { name: name.to_owned(), alive: Alive::new(kind) }
    }

    /// Counts the object as leaked, since its mapping on the compute side could not be freed. The
    /// caller forgets it.
    pub(crate) fn report_leak(&self, error: &dyn Display) {
        let kind = self.alive.kind();
        live::leaked(kind, 1);
        log_error!("{kind} \"{}\" is leaked on both sides: {error}", self.name);
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        trace::event(Event::new("destroy", "vulkan", &self.name));
    }
}
