//! Calls of the program's logger.
//!
//! A logger is code of the program's: it may panic, and it may use the objects that it is told of.
//! So it is called where no lock is held, and once what a driver call made has its owner; and a
//! panic of its ends here, since a second one during unwinding would end the process.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `log`, which does nothing but call the logger, and lets no panic out.
pub(crate) fn isolated(log: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(log)) {
        // The payload may panic in turn when it is dropped.
        std::mem::forget(panic);
    }
}

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
