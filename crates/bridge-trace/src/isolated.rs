//! Calls of code that the program supplied.

use std::panic::{AssertUnwindSafe, catch_unwind};

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
    ($($arg:tt)+) => {{ $crate::isolated::isolated(|| log::error!($($arg)+)); }};
}

pub(crate) use log_error;
