//! The trace of a renderer and of its workers: one JSON line for every event. Off by default, and
//! one load when off.
//!
//! | module | subject |
//! |---|---|
//! | `event` | what a line says |
//! | `clock` | the time that all processes of a machine share |
//! | `target` | where `BRIDGE_TRACE` sends the trace |
//! | `trace` | lines on their way to the sink |
//! | `waiting` | how many of them may wait for it |
//!
//! The crates `vk-cuda-bridge` and `vk-cuda-bridge-worker` write to it and re-export [`trace_to`]
//! and [`trace_off`]; a process that uses both has one trace. The repository's `docs/trace.md`
//! describes the lines.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod clock;
mod event;
mod target;
mod trace;
mod waiting;

pub use event::Event;
pub use trace::{Held, event, init, is_on, trace_off, trace_to};

use std::panic::{AssertUnwindSafe, catch_unwind};

/// The environment variable that turns the trace on: `stderr` (or `1`), or the path of a file.
pub const VARIABLE: &str = "BRIDGE_TRACE";

/// Calls code that the program supplied, a logger or a trace sink, and keeps its panic from
/// unwinding into the bookkeeping around a driver call. Returns `None` if it panicked.
pub fn isolated<T>(call: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(value) => Some(value),
        Err(panic) => {
            // The payload may panic in turn when it is dropped.
            std::mem::forget(panic);
            None
        }
    }
}

/// `log::error!`, isolated.
macro_rules! log_error {
    ($($arg:tt)+) => {{ $crate::isolated(|| log::error!($($arg)+)); }};
}

pub(crate) use log_error;
