//! The sink, and the thread that calls it.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::isolated::isolated;
use crate::line_queue::{self, LineQueue, Next};
use crate::log_error;

pub(crate) type Sink = Box<dyn Write + Send>;

/// `true` if the sink that was set last is in use. Changed under the lock of [`CURRENT`].
static ON: AtomicBool = AtomicBool::new(false);
static CURRENT: Mutex<Current> = Mutex::new(Current { sink: None, next: None, is_called: false, is_ending: false });
/// Notified when no thread calls the sink any more.
static RETURNED: Condvar = Condvar::new();
/// Lines to be written, in order. Locked after [`CURRENT`].
static LINES: Mutex<LineQueue> = Mutex::new(LineQueue::new(line_queue::MAX_LINES));

/// The sink and requests to change it. Never locked while user code runs.
struct Current {
    /// Moved out while it is called.
    sink: Option<Sink>,
    /// The sink to replace it with.
    next: Option<Sink>,
    /// `true` if a thread is in [`drain`]; it continues until no request and no line is left.
    is_called: bool,
    /// `true` if the sink is to be ended once all lines are written.
    is_ending: bool,
}

/// The next action of [`drain`], taken outside of the lock.
enum Step {
    Write(Option<Sink>, Next),
    Retire(Option<Sink>),
}

impl Current {
    fn lock() -> MutexGuard<'static, Self> {
        CURRENT.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the next action. A new sink comes before waiting lines, which are written to it.
    fn step(&mut self) -> Option<Step> {
        if let Some(next) = self.next.take() {
            return Some(Step::Retire(self.sink.replace(next)));
        }
        if let Some(line) = lines().pop() {
            return Some(Step::Write(self.sink.take(), line));
        }
        if std::mem::take(&mut self.is_ending) {
            return Some(Step::Retire(self.sink.take()));
        }
        None
    }
}

/// Returns `true` if the trace is on.
#[inline]
pub(crate) fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// Adds a line to those that are waiting.
pub(crate) fn push(line: Vec<u8>) {
    lines().push(line);
}

/// Requests that the next [`drain`] replaces the current sink with `sink`.
pub(crate) fn replace(sink: Sink) {
    let unused = {
        let mut current = Current::lock();
        ON.store(true, Ordering::Release);
        current.is_ending = false;
        current.next.replace(sink)
    };
    isolated(|| drop(unused));
}

/// Requests that the next [`drain`] writes the waiting lines and ends the sink.
pub(crate) fn end() {
    let mut current = Current::lock();
    ON.store(false, Ordering::Release);
    current.is_ending = true;
}

/// Waits until no thread calls the sink, for at most `limit`. Returns `false` if one still does.
pub(crate) fn wait_returned(limit: Duration) -> bool {
    let waited = RETURNED.wait_timeout_while(Current::lock(), limit, |current| current.is_called);
    !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
}

/// Carries out all requests: replaces the sink, writes waiting lines, ends the sink. `dropped`
/// formats the line that reports how many lines were dropped.
///
/// Returns at once if another thread is draining: that thread checks for new requests before it
/// returns. A sink may therefore wait for other threads that trace.
pub(crate) fn drain(dropped: impl Fn(u64) -> io::Result<Vec<u8>>) {
    let mut current = Current::lock();
    if current.is_called {
        return;
    }
    current.is_called = true;
    while let Some(step) = current.step() {
        drop(current);
        match step {
            Step::Write(None, _) => {}
            Step::Write(Some(sink), Next::Line(line)) => write(sink, &line),
            Step::Write(Some(sink), Next::Dropped(count)) => match dropped(count) {
                Ok(line) => write(sink, &line),
                Err(error) => fail(sink, &error),
            },
            Step::Retire(sink) => sink.into_iter().for_each(retire),
        }
        current = Current::lock();
    }
    current.is_called = false;
    RETURNED.notify_all();
}

/// Writes a line, and puts the sink back or ends it.
fn write(mut sink: Sink, line: &[u8]) {
    // One call per line keeps the lines of several processes in one file whole.
    match isolated(|| sink.write_all(line)).unwrap_or_else(|| Err(panicked())) {
        Ok(()) => Current::lock().sink = Some(sink),
        Err(error) => fail(sink, &error),
    }
}

/// Drops a sink that has failed; its destructor may set another one.
fn fail(sink: Sink, error: &io::Error) {
    isolated(|| drop(sink));
    let goes_on = {
        let current = Current::lock();
        if current.next.is_none() {
            ON.store(false, Ordering::Release);
        }
        current.next.is_some()
    };
    match goes_on {
        true => log_error!("this trace sink failed ({error}); the trace continues with the sink that replaced it"),
        false => log_error!("this trace sink failed ({error}); the trace ends here"),
    }
}

/// Flushes a sink and drops it.
fn retire(mut sink: Sink) {
    if let Err(error) = isolated(|| sink.flush()).unwrap_or_else(|| Err(panicked())) {
        log_error!("a sink of the trace could not be flushed: {error}");
    }
    isolated(|| drop(sink));
}

fn panicked() -> io::Error {
    io::Error::other("it panicked")
}

fn lines() -> MutexGuard<'static, LineQueue> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner)
}
