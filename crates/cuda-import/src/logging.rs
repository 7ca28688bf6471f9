//! Calls of the program's logger.
//!
//! A logger is code of the program's: it may panic, and it may use the objects that it is told of.
//! So it is called where no lock is held, and once what a driver call made has its owner; and a
//! panic of its ends here, since a second one during unwinding would end the process.

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};

use log::Level;

thread_local! {
    /// Number of [`LogHold`] of this thread.
    static HELD: Cell<usize> = const { Cell::new(0) };
    /// The lines that are held back.
    static LINES: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

/// Where a line is logged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) module: &'static str,
    pub(crate) file: &'static str,
    pub(crate) line: u32,
}

/// A line that is held back.
struct Line {
    level: Level,
    place: Place,
    text: String,
}

/// While one is alive, lines that this crate logs on this thread are held back. They are logged
/// when the thread's last one is dropped.
///
/// For calls of this crate under a lock that the program's logger may take: declare it before the
/// lock's guard, so that the guard is dropped first.
#[derive(Debug)]
pub struct LogHold(PhantomData<*const ()>);

impl LogHold {
    /// Holds the lines of this thread back.
    #[allow(clippy::new_without_default, reason = "it is made for what it does, not for a value")]
    #[inline]
    pub fn new() -> Self {
        HELD.set(HELD.get() + 1);
        Self(PhantomData)
    }
}

impl Drop for LogHold {
    #[inline]
    fn drop(&mut self) {
        HELD.set(HELD.get() - 1);
        if HELD.get() == 0 && log::max_level() > log::LevelFilter::Off {
            pass_on();
        }
    }
}

#[cold]
fn pass_on() {
    // Taken first: the logger may use this crate. A thread that is ending may hold none any more.
    for Line { level, place, text } in LINES.try_with(RefCell::take).unwrap_or_default() {
        isolated(|| {
            let logger = log::logger();
            let metadata = log::Metadata::builder().level(level).target(place.module).build();
            if logger.enabled(&metadata) {
                let mut record = log::Record::builder();
                record.metadata(metadata).module_path_static(Some(place.module));
                record.file_static(Some(place.file)).line(Some(place.line));
                logger.log(&record.args(format_args!("{text}")).build());
            }
        });
    }
}

/// Logs by `log`, or keeps what `text` gives for the end of the thread's last [`LogHold`]: the
/// logger cannot be asked before whether it wants the line.
pub(crate) fn write(level: Level, place: Place, text: impl FnOnce() -> String, log: impl FnOnce()) {
    if level > log::STATIC_MAX_LEVEL || level > log::max_level() {
        return;
    }
    if HELD.get() == 0 {
        return isolated(log);
    }
    isolated(|| {
        let line = Line { level, place, text: text() };
        // On a thread that is ending the line is lost.
        let _ = LINES.try_with(|lines| lines.borrow_mut().push(line));
    });
}

/// Runs `log`, which does nothing but call the logger, and lets no panic out. The macros below call
/// it: nothing else in this crate calls the logger.
pub(crate) fn isolated(log: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(log)) {
        // The payload may panic in turn when it is dropped.
        std::mem::forget(panic);
    }
}

/// A line at a level by the macro of the crate `log`, see [`write`].
macro_rules! logged {
    ($level:ident, $log:ident, $($arg:tt)+) => {
        $crate::logging::write(
            log::Level::$level,
            $crate::logging::Place { module: module_path!(), file: file!(), line: line!() },
            || format!($($arg)+),
            || log::$log!($($arg)+),
        )
    };
}

/// `log::debug!`, isolated.
macro_rules! log_debug {
    ($($arg:tt)+) => {{ $crate::logging::logged!(Debug, debug, $($arg)+); }};
}

/// `log::error!`, isolated.
macro_rules! log_error {
    ($($arg:tt)+) => {{ $crate::logging::logged!(Error, error, $($arg)+); }};
}

/// `log::trace!`, isolated.
macro_rules! log_trace {
    ($($arg:tt)+) => {{ $crate::logging::logged!(Trace, trace, $($arg)+); }};
}

/// `log::warn!`, isolated.
macro_rules! log_warn {
    ($($arg:tt)+) => {{ $crate::logging::logged!(Warn, warn, $($arg)+); }};
}

pub(crate) use {log_debug, log_error, log_trace, log_warn, logged};

#[cfg(test)]
mod tests {
    use super::*;

    thread_local! {
        static KEPT: RefCell<Option<Holds>> = const { RefCell::new(None) };
    }

    /// Holds lines back when it is dropped, and logs one.
    struct Holds;

    impl Drop for Holds {
        fn drop(&mut self) {
            let _hold = LogHold::new();
            log_warn!("a thread ends");
        }
    }

    /// Values of a thread are dropped in the order opposite to that of their first use. A panic
    /// there would end the process.
    #[test]
    fn lines_are_held_back_while_a_thread_ends() {
        log::set_max_level(log::LevelFilter::Warn);
        let thread = std::thread::spawn(|| {
            KEPT.set(Some(Holds));
            drop(LogHold::new());
        });
        thread.join().unwrap();
    }

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
