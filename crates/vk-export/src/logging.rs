//! Calls to the program's logger.
//!
//! A logger is the program's own code. It may panic, and it may use the objects that the crate logs
//! about. It is called between driver calls and the bookkeeping of their results, and in
//! destructors, so its panics are caught here. Callers that hold a lock hold the lines back with a
//! [`LogHold`].

use std::cell::{Cell, RefCell};
use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};

use log::Level;

thread_local! {
    static HELD: Held = const { Held { holds: Cell::new(0), lines: Cell::new(false) } };
    /// Lines that are held back.
    static LINES: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

/// The target and source location of a line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) target: &'static str,
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
        isolated(|| log_now(level, &place, format_args!("{text}")));
    }
}

/// Passes the text from `message` to the logger, or stores it until the thread's last [`LogHold`]
/// is dropped. `message` is called only if its level is logged.
pub(crate) fn write(level: Level, place: &Place, message: impl FnOnce(&mut dyn FnMut(fmt::Arguments<'_>))) {
    if level > log::STATIC_MAX_LEVEL || level > log::max_level() {
        return;
    }
    if HELD.with(|held| held.holds.get()) == 0 {
        return isolated(|| message(&mut |text| log_now(level, place, text)));
    }
    isolated(|| {
        message(&mut |text| {
            let line = Line { level, place: *place, text: text.to_string() };
            // On a thread that is ending, the line is lost.
            let _ = LINES.try_with(|lines| lines.borrow_mut().push(line));
            HELD.with(|held| held.lines.set(true));
        });
    });
}

/// Calls the logger in the same way as the macros of the crate `log`.
fn log_now(level: Level, place: &Place, text: fmt::Arguments<'_>) {
    let logger = log::logger();
    let metadata = log::Metadata::builder().level(level).target(place.target).build();
    if logger.enabled(&metadata) {
        let mut record = log::Record::builder();
        record.metadata(metadata).module_path_static(Some(place.module));
        record.file_static(Some(place.file)).line(Some(place.line));
        logger.log(&record.args(text).build());
    }
}

/// Runs `log`, which only calls the logger, and catches its panics.
fn isolated(log: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(log)) {
        // Dropping the payload may panic as well.
        std::mem::forget(panic);
    }
}

/// Logs a line with a target, see [`write`]. No other code in this crate calls the logger.
macro_rules! log_to {
    ($target:expr, $level:expr, $($arg:tt)+) => {{
        let place = $crate::logging::Place { target: $target, module: module_path!(), file: file!(), line: line!() };
        $crate::logging::write($level, &place, |log| log(format_args!($($arg)+)));
    }};
}

/// Like `log::debug!`, but panics of the logger are caught.
macro_rules! log_debug {
    ($($arg:tt)+) => { $crate::logging::log_to!(module_path!(), log::Level::Debug, $($arg)+) };
}

/// Like `log::error!`, but panics of the logger are caught.
macro_rules! log_error {
    ($($arg:tt)+) => { $crate::logging::log_to!(module_path!(), log::Level::Error, $($arg)+) };
}

/// Like `log::info!`, but panics of the logger are caught.
macro_rules! log_info {
    ($($arg:tt)+) => { $crate::logging::log_to!(module_path!(), log::Level::Info, $($arg)+) };
}

/// Like `log::warn!`, but panics of the logger are caught.
macro_rules! log_warn {
    ($($arg:tt)+) => { $crate::logging::log_to!(module_path!(), log::Level::Warn, $($arg)+) };
}

pub(crate) use {log_debug, log_error, log_info, log_to, log_warn};
