//! Calls of the program's logger.
//!
//! A logger is code of the program's: it may panic, and it may use the objects that it is told of.
//! So it is called where no lock is held, and once what a driver call made has its owner; and a
//! panic of its ends here, since a second one during unwinding would end the process.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `log`, which does nothing but call the logger, and lets no panic out. The macros below call
/// it: nothing else in this crate calls the logger.
pub(crate) fn isolated(log: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(log)) {
        // The payload may panic in turn when it is dropped.
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

/// `log::trace!`, isolated.
macro_rules! log_trace {
    ($($arg:tt)+) => {{ $crate::logging::isolated(|| log::trace!($($arg)+)); }};
}

/// `log::warn!`, isolated.
macro_rules! log_warn {
    ($($arg:tt)+) => {{ $crate::logging::isolated(|| log::warn!($($arg)+)); }};
}

pub(crate) use {log_debug, log_error, log_trace, log_warn};

#[cfg(test)]
mod tests {
    use super::*;

    /// Panics once more when it is dropped.
    struct Payload;

    impl Drop for Payload {
        fn drop(&mut self) {
            panic!("the payload");
        }
    }

    #[test]
    fn no_panic_gets_out() {
        struct LogsInDrop;
        impl Drop for LogsInDrop {
            fn drop(&mut self) {
                isolated(|| std::panic::panic_any(Payload));
            }
        }
        isolated(|| std::panic::panic_any(Payload));
        let unwound = catch_unwind(|| {
            let _logs = LogsInDrop;
            panic!("on the way");
        });
        assert!(unwound.is_err());
    }
}
