//! Log records of the crates, for Python's `logging`: kept until a call of the package has the
//! interpreter, since whoever logs may not.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use log::{Level, LevelFilter, Log, Metadata, Record};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::error::is_interrupt;

/// The name of the logger in Python.
const NAME: &str = "vkview";
/// Of these, the oldest go where nothing takes them.
const MOST: usize = 256;

struct Queue {
    records: Mutex<VecDeque<(Level, String)>>,
    /// Whether there are any: looked at by every call.
    some: AtomicBool,
}

static QUEUE: Queue = Queue { records: Mutex::new(VecDeque::new()), some: AtomicBool::new(false) };

impl Queue {
    fn lock(&self) -> MutexGuard<'_, VecDeque<(Level, String)>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log for Queue {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Info
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let mut records = self.lock();
        if records.len() == MOST {
            records.pop_front();
        }
        records.push_back((record.level(), record.args().to_string()));
        self.some.store(true, Ordering::Release);
    }

    fn flush(&self) {}
}

/// Made early, since modules cannot be imported while the interpreter ends.
static LOGGER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// Takes what is logged from now on.
pub(crate) fn init(py: Python<'_>) -> PyResult<()> {
    LOGGER.get_or_try_init(py, || PyResult::Ok(py.import("logging")?.call_method1("getLogger", (NAME,))?.unbind()))?;
    // Another logger cannot be there: the library is Python's alone.
    if log::set_logger(&QUEUE).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
    Ok(())
}

/// Hands on what was logged so far. No lock of a view is held: handlers are Python's.
///
/// A handler's fault is reported and does not fail the call; an interrupt, such as that of Ctrl-C,
/// is returned once all records are handed on.
pub(crate) fn deliver(py: Python<'_>) -> PyResult<()> {
    if !QUEUE.some.swap(false, Ordering::AcqRel) {
        return Ok(());
    }
    let records = std::mem::take(&mut *QUEUE.lock());
    let Some(logger) = LOGGER.get(py) else { return Ok(()) };
    let mut delivered = Ok(());
    for (level, text) in records {
        let level = match level {
            Level::Error => 40,
            Level::Warn => 30,
            _ => 20,
        };
        match logger.call_method1(py, "log", (level, "%s", text)) {
            Err(error) if delivered.is_ok() && is_interrupt(py, &error) => delivered = Err(error),
            Err(error) => error.write_unraisable(py, None),
            Ok(_) => {}
        }
    }
    delivered
}
