//! Observation from outside: counts of live objects, and the trace.

pub(crate) mod live;
pub(crate) mod object;
pub(crate) mod trace;

use std::panic::{AssertUnwindSafe, catch_unwind};

/// `log::error!`, isolated: the crate logs with this and its like alone.
macro_rules! log_error {
    ($($arg:tt)+) => {{ $crate::observe::isolated(|| log::error!($($arg)+)); }};
}

/// `log::warn!`, isolated.
macro_rules! log_warn {
    ($($arg:tt)+) => {{ $crate::observe::isolated(|| log::warn!($($arg)+)); }};
}

/// `log::info!`, isolated.
macro_rules! log_info {
    ($($arg:tt)+) => {{ $crate::observe::isolated(|| log::info!($($arg)+)); }};
}

pub(crate) use {log_error, log_info, log_warn};

/// Calls code that the program supplied, a logger or a trace sink, and keeps its panic from
/// unwinding into the bookkeeping around a driver call. Returns `None` if it panicked.
pub(crate) fn isolated<T>(call: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(value) => Some(value),
        Err(panic) => {
            // The payload may panic in turn when it is dropped.
            std::mem::forget(panic);
            None
        }
    }
}
