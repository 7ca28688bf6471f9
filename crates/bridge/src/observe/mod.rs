//! Observation from outside: counts of live objects, the trace, and the program's logger.

pub(crate) mod frame_mutex;
pub(crate) mod live;
pub(crate) mod log_hold;
pub(crate) mod object;
#[cfg(all(test, target_os = "linux", feature = "remote"))]
pub(crate) mod steps;
pub(crate) mod trace;
#[cfg(all(target_os = "linux", feature = "remote"))]
pub(crate) mod worker_trace;

// The crate logs only through these macros.
pub(crate) use bridge_trace::{log_error, log_info, log_warn};
