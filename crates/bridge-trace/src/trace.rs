//! Lines on their way to the sink.

use std::cell::Cell;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, Once, OnceLock, PoisonError};

use crate::event::{Event, Line};
use crate::isolated::isolated;
use crate::log_error;
use crate::waiting::{self, Next, Waiting};
use crate::{clock, target};

/// The environment variable that turns the trace on: `stderr` (or `1`), or the path of a file.
pub const VARIABLE: &str = "BRIDGE_TRACE";

type Sink = Box<dyn Write + Send>;

static ON: AtomicBool = AtomicBool::new(false);
static SINK: Mutex<Option<Sink>> = Mutex::new(None);
/// Replacement that a sink has set for itself.
static NEXT: Mutex<Option<Sink>> = Mutex::new(None);
/// Lines that are not written yet, in order.
static LINES: Mutex<Waiting> = Mutex::new(Waiting::new(waiting::MOST));

/// Writes the trace of the whole process to `sink` from now on: one JSON object a line, such as
/// `{"ns":81234567890,"us":512,"pid":4711,"event":"signal","side":"cuda","object":"particles.computed","value":7}`.
///
/// `ns` is the time of a clock that all processes of the machine share (`CLOCK_MONOTONIC`), `us`
/// the time since the trace was turned on, `pid` the process. `event` is `export`, `import`,
/// `create`, `wait`, `signal`, `destroy` or `leak`, and for frames between two processes `connect`,
/// `offer`, `begin`, `publish`, `skip`, `take`, `free`, `close`, `lost` or `kill`; `side` who does
/// it; waits and signals are written when they are enqueued. The variable `BRIDGE_TRACE=stderr` (or
/// a file's path) does the same from outside; several processes may write to one file. A sink that
/// fails or panics ends the trace with a line in the log, unless it has set another one before. The
/// sink is called while a frame is under way, so it should return soon: beyond 65536 lines that
/// wait for it, others are dropped, and an event `dropped` says how many. It may use this crate;
/// what it does there on its own thread is not traced.
pub fn trace_to(sink: impl Write + Send + 'static) {
    start();
    if WRITING.get() {
        // The sink is being called: it is replaced once that has returned.
        let before = NEXT.lock().unwrap_or_else(PoisonError::into_inner).replace(Box::new(sink));
        ON.store(true, Ordering::Release);
        drop(before);
        return;
    }
    let before = {
        let mut current = SINK.lock().unwrap_or_else(PoisonError::into_inner);
        ON.store(true, Ordering::Release);
        current.replace(Box::new(sink))
    };
    // Outside of the lock, since the sink is the program's.
    drop(before);
    // Others may have found the sink taken.
    if HELD.get() == 0 {
        pass_on();
    }
}

/// Ends the trace and flushes it. Inside a sink it only ends it.
pub fn trace_off() {
    ON.store(false, Ordering::Release);
    let Some(_writing) = Writing::enter() else { return };
    let (written, sink) = {
        let mut sink = SINK.lock().unwrap_or_else(PoisonError::into_inner);
        (drain(&mut sink), sink.take())
    };
    // Outside of the lock, since the sink is the program's.
    let flush = |mut sink: Sink| isolated(move || sink.flush()).unwrap_or_else(|| Err(panicked()));
    if let Err(error) = written.and_then(|()| sink.map_or(Ok(()), flush)) {
        log_error!("the trace could not be written to its end: {error}");
    }
    // The sink may have set another one, and other threads may have left lines here meanwhile.
    if NEXT.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
        let before = replaced(&mut SINK.lock().unwrap_or_else(PoisonError::into_inner));
        isolated(|| drop(before));
    }
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
    ON.load(Ordering::Relaxed)
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
        Ok(bytes) => lines().push(bytes),
        Err(error) => log_error!("an event is not in the trace: {error}"),
    }
    if HELD.get() == 0 {
        drain_all();
    }
}

/// Writes the lines that are waiting, outside of the sink.
#[cold]
fn pass_on() {
    if let Some(_writing) = Writing::enter() {
        drain_all();
    }
}

/// Nobody waits for the sink: who finds it taken leaves the lines to the thread that has it, which
/// looks again after it let go. So a sink may wait for other threads, which trace too.
fn drain_all() {
    while !lines().is_empty() {
        let Ok(mut sink) = SINK.try_lock() else { return };
        let drained = drain(&mut sink);
        // The sink that has failed, and no other: it may have set the next one before.
        let failed = if drained.is_err() { sink.take() } else { None };
        let before = replaced(&mut sink);
        let ends = drained.is_err() && sink.is_none();
        if ends {
            ON.store(false, Ordering::Release);
        }
        drop(sink);
        isolated(|| drop((failed, before)));
        match drained {
            Ok(()) => {}
            Err(error) if ends => log_error!("the trace ends here, its sink failed: {error}"),
            Err(error) => log_error!("the trace goes on with another sink, this one failed: {error}"),
        }
    }
}

/// Puts the sink in that a sink has set for itself. Returns the one before, to be dropped outside
/// of the lock.
fn replaced(sink: &mut Option<Sink>) -> Option<Sink> {
    let next = NEXT.lock().unwrap_or_else(PoisonError::into_inner).take()?;
    sink.replace(next)
}

/// Writes the lines that are waiting, or discards them if there is no sink.
fn drain(sink: &mut Option<Sink>) -> io::Result<()> {
    loop {
        // Not held while the sink writes.
        let Some(next) = lines().pop() else { return Ok(()) };
        let line = match next {
            Next::Line(line) => line,
            Next::Dropped(count) => bytes(Event::new("dropped", "host", "trace").count(count))?,
        };
        let Some(writer) = sink.as_mut() else { continue };
        // One call a line: lines of several processes in one file stay whole.
        isolated(|| writer.write_all(&line)).unwrap_or_else(|| Err(panicked()))?;
    }
}

/// An event of this moment as a line.
fn bytes(event: Event<'_>) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(&Line::now(start(), event))?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn panicked() -> io::Error {
    io::Error::other("it panicked")
}

fn lines() -> MutexGuard<'static, Waiting> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The time at which the trace was first turned on.
fn start() -> u64 {
    static START: OnceLock<u64> = OnceLock::new();
    *START.get_or_init(clock::now)
}
