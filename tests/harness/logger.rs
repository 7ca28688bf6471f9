//! The tests' logger, which panics if a test requests it.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Once;

use log::{LevelFilter, Log, Metadata, Record};

thread_local! {
    /// The number of lines logged while each line panics; `None` otherwise.
    static LINES_LOGGED: Cell<Option<usize>> = const { Cell::new(None) };
}

struct Logger(env_logger::Logger);

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        LINES_LOGGED.get().is_some() || self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        let Some(said) = LINES_LOGGED.get() else { return self.0.log(record) };
        LINES_LOGGED.set(Some(said + 1));
        // Does not print the message that a panic normally prints.
        resume_unwind(Box::new("the logger panics"));
    }

    fn flush(&self) {
        self.0.flush();
    }
}

/// Installs a logger that follows `RUST_LOG`, unless the process has a logger.
pub(crate) fn init() {
    let logger = env_logger::builder().is_test(true).build();
    let most = logger.filter();
    if log::set_boxed_logger(Box::new(Logger(logger))).is_ok() {
        log::set_max_level(most);
    }
}

/// Calls `f` while each line that this thread logs panics; no such panic may escape.
///
/// # Panics
/// Panics if one escapes, or if `f` logs nothing.
pub fn with_panicking_logger<T>(f: impl FnOnce() -> T) -> T {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        init();
        log::set_max_level(LevelFilter::Trace);
    });
    LINES_LOGGED.set(Some(0));
    let result = catch_unwind(AssertUnwindSafe(f));
    let said = LINES_LOGGED.take();
    let result = result.unwrap_or_else(|_| panic!("a panic of the logger's has come out"));
    assert!(said.is_some_and(|said| said > 0), "the logger was not called: this test is void");
    result
}
