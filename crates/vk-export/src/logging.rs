//! Calls to the program's logger.
//!
//! A logger is the program's own code and may panic. It is called between driver calls and the
//! bookkeeping of their results, and in destructors, so its panics are caught here.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `log`, which only calls the logger, and catches its panics. The macros below use it, and no
/// other code in this crate calls the logger.
pub(crate) fn isolated(log: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(log)) {
        // Dropping the payload may panic as well.
        std::mem::forget(panic);
    }
}

/// `log::debug!`, isolated.
macro_rules! log_debug {
    ($($arg:tt)+) => {{ $crate::logging::isolated(|| log::debug!($($arg)+)); }};
}

/// `log::error!`, isolated.
macro_rules! log_error {
    ($($arg:tt)+) => {{ $crate::logging::isolated(|| log::error!($($arg)+)); }};
}

/// `log::info!`, isolated.
macro_rules! log_info {
    ($($arg:tt)+) => {{ $crate::logging::isolated(|| log::info!($($arg)+)); }};
}

/// `log::warn!`, isolated.
macro_rules! log_warn {
    ($($arg:tt)+) => {{ $crate::logging::isolated(|| log::warn!($($arg)+)); }};
}

/// `log::log!` with a target, isolated.
macro_rules! log_to {
    ($target:expr, $level:expr, $($arg:tt)+) => {{
        $crate::logging::isolated(|| log::log!(target: $target, $level, $($arg)+));
    }};
}

pub(crate) use {log_debug, log_error, log_info, log_to, log_warn};
