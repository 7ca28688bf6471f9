//! Calls to the program's logger.
//!
//! A logger is the program's own code: it may panic, and it may use the objects that a line is
//! about. So it is called only while no lock is held, and only after the results of driver calls
//! have an owner. Its panics are caught here, because a second panic during unwinding would abort
//! the process.

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};

use log::Level;

thread_local! {
    static HELD: Held = const { Held { holds: Cell::new(0), lines: Cell::new(false) } };
    /// The lines that are held back.
    static LINES: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

/// The source location of a line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) module: &'static str,
    pub(crate) file: &'static str,
    pub(crate) line: u32,
}

/// State of the lines that this thread holds back.
///
/// Frames access it, so it is a single thread-local value, and has no destructor that each thread
/// would have to register.
struct Held {
    /// Number of [`LogHold`]s.
    holds: Cell<usize>,
    /// `true` if [`LINES`] has some.
    lines: Cell<bool>,
}

/// A line that is held back.
struct Line {
    level: Level,
    place: Place,
    text: String,
}

/// Holds back the lines that this crate logs on this thread while it is alive. They are logged when
/// the thread's last `LogHold` is dropped.
///
/// For calls of this crate under a lock that the program's logger may take: declare it before the
/// lock's guard, so that the guard is dropped first.
#[derive(Debug)]
pub struct LogHold(PhantomData<*const ()>);

impl LogHold {
    /// Starts holding back the lines of this thread.
    #[allow(clippy::new_without_default, reason = "it is made for what it does, not for a value")]
    #[inline]
    pub fn new() -> Self {
        HELD.with(|held| held.holds.set(held.holds.get().wrapping_add(1)));
        Self(PhantomData)
    }
}

impl Drop for LogHold {
    #[inline]
    fn drop(&mut self) {
        let pass = HELD.with(|held| {
            let left = held.holds.get().wrapping_sub(1);
            held.holds.set(left);
            left == 0 && held.lines.get()
        });
        if pass {
            pass_on();
        }
    }
}

#[cold]
fn pass_on() {
    // Taken first, because the logger may use this crate. A thread that is ending may have no list
    // any more.
    HELD.with(|held| held.lines.set(false));
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

/// Logs with `log`, or stores the result of `text` until the thread's last [`LogHold`] is dropped:
/// the logger cannot be asked earlier whether it wants the line.
pub(crate) fn write(level: Level, place: Place, text: impl FnOnce() -> String, log: impl FnOnce()) {
    if level > log::STATIC_MAX_LEVEL || level > log::max_level() {
        return;
    }
    if HELD.with(|held| held.holds.get()) == 0 {
        return isolated(log);
    }
    isolated(|| {
        let line = Line { level, place, text: text() };
        // On a thread that is ending, the line is lost.
        let _ = LINES.try_with(|lines| lines.borrow_mut().push(line));
        HELD.with(|held| held.lines.set(true));
    });
}

/// Runs `log`, which only calls the logger, and catches its panics. The macros below use it, and no
/// other code in this crate calls the logger.
pub(crate) fn isolated(log: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(log)) {
        // Dropping the payload may panic as well.
        std::mem::forget(panic);
    }
}

/// Logs a line with a macro of the crate `log`, see [`write`].
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

    /// When dropped, holds lines back and logs one.
    struct Holds;

    impl Drop for Holds {
        fn drop(&mut self) {
            let _hold = LogHold::new();
            log_warn!("a thread ends");
        }
    }

    /// Logging works while a thread ends. Thread-local values are dropped in the reverse order of
    /// their first use, and a panic there would abort the process.
    #[test]
    fn lines_are_held_back_while_a_thread_ends() {
        log::set_max_level(log::LevelFilter::Warn);
        let thread = std::thread::spawn(|| {
            KEPT.set(Some(Holds));
            drop(LogHold::new());
        });
        thread.join().unwrap();
    }

    /// Panics again when it is dropped.
    struct Payload;

    impl Drop for Payload {
        fn drop(&mut self) {
            panic!("the payload");
        }
    }

    #[test]
    fn panics_of_the_logger_are_caught() {
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
