//! Observation from outside: counts of live objects, and the trace.

pub(crate) mod live;
pub(crate) mod object;

pub(crate) use bridge_trace as trace;
pub(crate) use bridge_trace::isolated;

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
