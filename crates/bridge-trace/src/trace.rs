//! The trace of a process: turning it on and off, and writing events as lines.

use std::cell::Cell;
use std::io::{self, Write};
use std::marker::PhantomData;
use std::sync::{Once, OnceLock};
use std::time::Duration;

use crate::event::{Event, Line};
use crate::names::{EventKind, Side};
use crate::{clock, log_error, sink, target};

/// The environment variable that turns the trace on: `stderr` (or `1`), or the path of a file.
pub const VARIABLE: &str = "BRIDGE_TRACE";

/// How long [`trace_off`] waits for a sink that another thread is calling.
const LIMIT: Duration = Duration::from_secs(2);

/// Writes the trace of the whole process to `sink` from now on: one JSON object per line, such as
/// `{"ns":81234567890,"us":512,"pid":4711,"event":"signal","side":"cuda",
/// "object":"particles.computed","value":7}`.
///
/// `ns` is the time of a clock that all processes of the machine share (`CLOCK_MONOTONIC`), `us`
/// the time since the trace was turned on, `pid` the process ID. `event` is the kind of the event,
/// an [`EventKind`], and `side` the [`Side`] that causes it. Waits and signals are written when
/// they are enqueued. The variable `BRIDGE_TRACE=stderr` (or the path of a file) does the same
/// without a call; several processes may write to one file.
///
/// The sink is called while a frame is in progress, so it should return soon: at most 65536 lines
/// wait for it, further lines are dropped, and an event `dropped` reports their number. If another
/// thread is calling the current sink, it is replaced once that call has returned. A replaced sink
/// is flushed and dropped, and lines that are still waiting are written to the new one. A sink that
/// fails or panics ends the trace with a message in the log, unless another one was set in the
/// meantime. Sinks may use this crate; their events on the thread that calls them are not traced.
pub fn trace_to(sink: impl Write + Send + 'static) {
    start();
    sink::replace(Box::new(sink));
    // Inside the sink, it is replaced once the sink has returned.
    if HELD.get() == 0 {
        pass_on();
    }
}

/// Ends the trace: writes the lines that are waiting, then flushes and drops the sink.
///
/// If another thread is calling the sink, this waits for it to return, for at most two seconds;
/// after that, the other thread ends the sink. Inside a sink, this does not wait: the sink ends
/// once it has returned.
pub fn trace_off() {
    sink::end();
    let Some(_writing) = Writing::enter() else { return };
    if !sink::wait_returned(LIMIT) {
        log_error!("the sink of the trace has not returned within {LIMIT:?}; it is flushed after it returns");
    }
    // The sink may have set another one, and other threads may have added lines meanwhile.
    drain_all();
}

/// Turns the trace on if the environment variable requests it. Only the first call has an effect.
pub fn init() {
    static ONCE: Once = Once::new();
    let mut asked = None;
    ONCE.call_once(|| asked = std::env::var_os(VARIABLE).map(|value| (target::from_variable(&value), value)));
    // Outside of the `Once`: a logger, or a sink that is replaced, may call this function again.
    match asked {
        Some((Ok(Some(sink)), _)) => trace_to(sink),
        Some((Err(error), value)) => log_error!("{VARIABLE}={}: {error}; running without a trace", value.display()),
        Some((Ok(None), _)) | None => {}
    }
}

/// Returns `true` if the trace is on. Allows skipping work that only an [`event`] needs.
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

/// A guard during whose lifetime this thread does not call the sink. The lines of events under a
/// lock are written when the guard is dropped, so that a sink may take the lock.
///
/// It counts for the thread that created it, so it cannot be sent to another one:
///
/// ```compile_fail,E0277
/// let held = bridge_trace::Held::new();
/// std::thread::spawn(move || drop(held));
/// ```
#[derive(Debug)]
pub struct Held(PhantomData<*const ()>);

impl Held {
    /// Starts holding back the lines of this thread.
    #[allow(clippy::new_without_default, reason = "it is made for what it does, not for a value")]
    #[inline]
    pub fn new() -> Self {
        count(1);
        Self(PhantomData)
    }
}

impl Drop for Held {
    #[inline]
    fn drop(&mut self) {
        if count(-1) == 0 && is_on() {
            pass_on();
        }
    }
}

thread_local! {
    /// Set while this thread is inside the sink.
    static WRITING: Cell<bool> = const { Cell::new(false) };
    /// Number of live [`Held`] guards of this thread.
    static HELD: Cell<usize> = const { Cell::new(0) };
}

/// Changes the number of [`Held`] guards of this thread and returns it, with one access to the
/// thread's memory: frames do this.
#[inline]
fn count(change: isize) -> usize {
    HELD.with(|held| {
        held.set(held.get().wrapping_add_signed(change));
        held.get()
    })
}

/// Clears [`WRITING`] at the end of a scope.
struct Writing;

impl Writing {
    /// Returns `None` if this thread is already inside the sink.
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

/// Carries out all requests for the sink, unless this thread is inside it.
#[cold]
fn pass_on() {
    if let Some(_writing) = Writing::enter() {
        drain_all();
    }
}

fn drain_all() {
    sink::drain(|count| bytes(Event::new(EventKind::Dropped, Side::Host, "trace").count(count)));
}

/// Encodes an event with the current time as a line.
fn bytes(event: Event<'_>) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(&Line::now(start(), event))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Returns the time at which the trace was first turned on.
fn start() -> u64 {
    static START: OnceLock<u64> = OnceLock::new();
    *START.get_or_init(clock::now)
}
