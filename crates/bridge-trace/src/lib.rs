//! The trace of a renderer and of its workers: one JSON line for every event. It is off by default,
//! and then costs one load per event.
//!
//! | module | subject |
//! |---|---|
//! | `event` | the contents of a line |
//! | `names` | the kinds of events and the sides that cause them |
//! | `clock` | the clock that all processes of a machine share |
//! | `isolated` | calls of code that the program supplied: its logger, its sink |
//! | `sink` | the sink, its replacement, and the thread that calls it |
//! | `target` | the destination that `BRIDGE_TRACE` names |
//! | `trace` | turning the trace on and off, and writing events as lines |
//! | `line_queue` | the queue of lines that are not written yet |
//!
//! The crates `vk-cuda-bridge` and `vk-cuda-bridge-worker` write to it and re-export [`trace_to`]
//! and [`trace_off`]; a process that uses both has one trace. The repository's `docs/trace.md`
//! describes the lines.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod clock;
mod event;
mod isolated;
mod line_queue;
mod names;
mod sink;
mod target;
mod trace;

pub use event::Event;
pub use isolated::isolated;
#[doc(hidden)]
pub use log;
pub use names::{EventKind, Side};
pub use trace::{Held, VARIABLE, event, init, is_on, trace_off, trace_to};

// Users may rely on these auto traits; the compiler checks them. `Held` belongs to its thread.
const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<Event<'_>>();
    shared::<(EventKind, Side)>();
};
