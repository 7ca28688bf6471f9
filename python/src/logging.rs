//! Delivery of the crates' log records to Python's `logging`. Records are queued until a call of
//! the package holds the interpreter, since the logging thread may not hold it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use log::{Level, LevelFilter, Log, Metadata, Record};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::error::is_interrupt;

/// Name of the Python logger.
const NAME: &str = "vkview";
/// Maximum number of queued records. Beyond it, the oldest ones are dropped.
const MOST: usize = 256;

struct Queue {
    records: Mutex<VecDeque<(Level, String)>>,
    /// `true` if there are any records, which every call checks.
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

/// Created early, since modules cannot be imported while the interpreter shuts down.
static LOGGER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// Installs the logger: records are queued from now on.
pub(crate) fn init(py: Python<'_>) -> PyResult<()> {
    LOGGER.get_or_try_init(py, || PyResult::Ok(py.import("logging")?.call_method1("getLogger", (NAME,))?.unbind()))?;
    // No other logger can be installed: this library is used only by Python.
    if log::set_logger(&QUEUE).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
    Ok(())
}

/// Delivers the queued records to Python. No lock of a view may be held, since handlers are Python
/// code.
///
/// An exception of a handler is reported and does not fail the call. An interrupt, such as Ctrl-C,
/// is returned after all records are delivered.
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
