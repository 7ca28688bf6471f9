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

/// `log::debug!`, [isolated](crate::isolated()).
#[macro_export]
macro_rules! log_debug {
    ($($arg:tt)+) => {{ $crate::isolated(|| $crate::log::debug!($($arg)+)); }};
}

/// `log::error!`, [isolated](crate::isolated()).
#[macro_export]
macro_rules! log_error {
    ($($arg:tt)+) => {{ $crate::isolated(|| $crate::log::error!($($arg)+)); }};
}

/// `log::info!`, [isolated](crate::isolated()).
#[macro_export]
macro_rules! log_info {
    ($($arg:tt)+) => {{ $crate::isolated(|| $crate::log::info!($($arg)+)); }};
}

/// `log::warn!`, [isolated](crate::isolated()).
#[macro_export]
macro_rules! log_warn {
    ($($arg:tt)+) => {{ $crate::isolated(|| $crate::log::warn!($($arg)+)); }};
}
