//! The trace, and its events within one process: one function per event, named as in the trace.
//! They do nothing if the trace is off.

use bridge_trace::{Event, EventKind, event};
pub(crate) use bridge_trace::{Held, Side, init, is_on};
use vk_export::MemoryDescriptor;

/// Traces the creation of an object, for a compute side or for Vulkan. `bytes` is its size, if it
/// has one.
pub(crate) fn create(side: Side, object: &str, bytes: Option<u64>) {
    event(Event::new(EventKind::Create, side, object).bytes(bytes));
}

/// Traces the destruction of an object.
pub(crate) fn destroy(object: &str) {
    event(Event::new(EventKind::Destroy, Side::Vulkan, object));
}

/// Traces that an exchange leaks its objects.
pub(crate) fn leak(exchange: &str) {
    event(Event::new(EventKind::Leak, Side::Host, exchange));
}

/// Traces the export of memory from Vulkan.
pub(crate) fn export_memory(memory: &MemoryDescriptor) {
    let exported = Event::new(EventKind::Export, Side::Vulkan, &memory.name);
    event(exported.bytes(Some(memory.allocation_size)).dedicated(memory.dedicated));
}

/// Traces the export of a timeline from Vulkan.
pub(crate) fn export_timeline(timeline: &str) {
    event(Event::new(EventKind::Export, Side::Vulkan, timeline));
}

/// Traces the import of memory or a timeline into CUDA.
pub(crate) fn import(object: &str) {
    event(Event::new(EventKind::Import, Side::Cuda, object));
}

/// Traces that a side has enqueued a wait for a value of a timeline.
pub(crate) fn wait(side: Side, timeline: &str, value: u64) {
    event(Event::new(EventKind::Wait, side, timeline).value(value));
}

/// Traces that a side has enqueued, or is about to make, the signal of a value of a timeline.
pub(crate) fn signal(side: Side, timeline: &str, value: u64) {
    event(Event::new(EventKind::Signal, side, timeline).value(value));
}
