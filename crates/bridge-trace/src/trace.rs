//! The trace of a process: on and off, and its events as lines.

use std::cell::Cell;
use std::io::{self, Write};
use std::sync::{Once, OnceLock};
use std::time::Duration;

use crate::event::{Event, Line};
use crate::{clock, log_error, sink, target};

/// The environment variable that turns the trace on: `stderr` (or `1`), or the path of a file.
pub const VARIABLE: &str = "BRIDGE_TRACE";

/// How long [`trace_off`] waits for a sink that another thread is calling.
const LIMIT: Duration = Duration::from_secs(2);

/// Writes the trace of the whole process to `sink` from now on: one JSON object a line, such as
/// `{"ns":81234567890,"us":512,"pid":4711,"event":"signal","side":"cuda","object":"particles.computed","value":7}`.
///
/// `ns` is the time of a clock that all processes of the machine share (`CLOCK_MONOTONIC`), `us`
/// the time since the trace was turned on, `pid` the process. `event` is `export`, `import`,
/// `create`, `wait`, `signal`, `destroy` or `leak`, and for frames between two processes `connect`,
/// `offer`, `begin`, `publish`, `skip`, `take`, `free`, `close`, `lost` or `kill`; `side` who does
/// it; waits and signals are written when they are enqueued. The variable `BRIDGE_TRACE=stderr` (or
/// a file's path) does the same from outside; several processes may write to one file.
///
/// The sink is called while a frame is under way, so it should return soon: beyond 65536 lines that
/// wait for it, others are dropped, and an event `dropped` says how many. One that another thread
/// is calling is replaced once it has returned. A sink that was replaced is flushed and dropped, and
/// lines that are still waiting are written to the new one. A sink that fails or panics ends the
/// trace with a line in the log, unless another one was set in the meantime. Sinks may use this
/// crate; what they do there on their own thread is not traced.
pub fn trace_to(sink: impl Write + Send + 'static) {
    start();
    sink::replace(Box::new(sink));
    // Inside the sink it is replaced once that has returned.
    if HELD.get() == 0 {
        pass_on();
    }
}

/// Ends the trace: writes the lines that are waiting, then flushes and drops the sink.
///
/// If another thread is calling the sink, this waits for it to return, for at most two seconds;
/// that thread ends the sink otherwise. Inside a sink this waits for nothing: the sink ends once it
/// has returned.
pub fn trace_off() {
    sink::end();
    let Some(_writing) = Writing::enter() else { return };
    if !sink::await_return(LIMIT) {
        log_error!("the sink of the trace has not returned within {LIMIT:?}; it is flushed once it has");
    }
    // The sink may have set another one, and other threads may have left lines here meanwhile.
    drain_all();
}

/// Turns the trace on if the environment says so; looks once.
pub fn init() {
    static ONCE: Once = Once::new();
    let mut asked = None;
    ONCE.call_once(|| asked = std::env::var_os(VARIABLE).map(|value| (target::of(&value), value)));
    // Outside of the `Once`: a logger, and a sink that is replaced, may come here again.
    match asked {
        Some((Ok(Some(sink)), _)) => trace_to(sink),
        Some((Err(error), value)) => log_error!("{VARIABLE}={}: {error}; running without a trace", value.display()),
        Some((Ok(None), _)) | None => {}
    }
}

/// Returns `true` if the trace is on: for what costs something to find out for an [`event`].
#[inline]
pub fn is_on() -> bool {
    sink::is_on()
}

/// Writes a line if the trace is on.
pub fn event(event: Event<'_>) {
    if is_on() {
        write(event);
    }
}

/// While it lives, this thread does not call the sink: the lines of what it does under a lock are
/// written at the end, so that a sink may take the lock.
#[derive(Debug)]
pub struct Held(());

impl Held {
    /// Holds the lines of this thread back.
    #[allow(clippy::new_without_default, reason = "it is made for what it does, not for a value")]
    #[inline]
    pub fn new() -> Self {
        HELD.set(HELD.get() + 1);
        Self(())
    }
}

impl Drop for Held {
    #[inline]
    fn drop(&mut self) {
        HELD.set(HELD.get() - 1);
        if HELD.get() == 0 && is_on() {
            pass_on();
        }
    }
}

thread_local! {
    /// Set while this thread is inside the sink.
    static WRITING: Cell<bool> = const { Cell::new(false) };
    /// Number of [`Held`] of this thread.
    static HELD: Cell<usize> = const { Cell::new(0) };
}

/// Clears [`WRITING`] at the end of a scope.
struct Writing;

impl Writing {
    /// `None` if this thread is inside the sink already.
    fn enter() -> Option<Self> {
        (!WRITING.replace(true)).then(|| Self)
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        WRITING.set(false);
    }
}

#[cold]
fn write(event: Event<'_>) {
    // A sink that uses this crate would trace itself without end.
    let Some(_writing) = Writing::enter() else { return };
    match bytes(event) {
        Ok(bytes) => sink::push(bytes),
        Err(error) => log_error!("an event is not in the trace: {error}"),
    }
    if HELD.get() == 0 {
        drain_all();
    }
}

/// Does what is to be done with the sink, unless this thread is inside it.
#[cold]
fn pass_on() {
    if let Some(_writing) = Writing::enter() {
        drain_all();
    }
}

fn drain_all() {
    sink::drain(|count| bytes(Event::new("dropped", "host", "trace").count(count)));
}

/// An event of this moment as a line.
fn bytes(event: Event<'_>) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(&Line::now(start(), event))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// The time at which the trace was first turned on.
fn start() -> u64 {
    static START: OnceLock<u64> = OnceLock::new();
    *START.get_or_init(clock::now)
}
