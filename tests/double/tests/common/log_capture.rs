//! A collector of log messages at warning level and above.

use std::sync::{Mutex, MutexGuard, PoisonError};

use log::{Level, LevelFilter, Log, Metadata, Record};

struct Collector {
    lines: Mutex<Vec<String>>,
}

static COLLECTOR: Collector = Collector { lines: Mutex::new(Vec::new()) };

impl Log for Collector {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        // Traces are formatted as well, to check that this does not fail.
        let line = record.args().to_string();
        if record.level() <= Level::Warn {
            lines().push(line);
        }
    }

    fn flush(&self) {}
}

/// Collects log messages from now on.
pub(crate) fn collect() {
    if log::set_logger(&COLLECTOR).is_ok() {
        log::set_max_level(LevelFilter::Trace);
    }
}

/// Returns the lines since the last call.
pub(crate) fn take() -> Vec<String> {
    std::mem::take(&mut *lines())
}

fn lines() -> MutexGuard<'static, Vec<String>> {
    COLLECTOR.lines.lock().unwrap_or_else(PoisonError::into_inner)
}
