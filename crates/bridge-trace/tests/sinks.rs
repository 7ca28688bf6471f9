//! Tests of sinks and loggers that use the trace themselves, also while it ends.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::io::{self, Write};
use std::panic::catch_unwind;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bridge_trace::{Event, EventKind, Held, Side, event, init, is_on, trace_off, trace_to};

/// Time limit of waits that would otherwise never end.
const HANGS: Duration = Duration::from_secs(30);
/// The environment variable that makes this program the other process.
const OTHER: &str = "BRIDGE_TEST_LOGGER";

/// Makes tests run one at a time, since a process has one trace.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps what is written, and calls `flush` when it is flushed.
struct Kept<F> {
    lines: Arc<Mutex<Vec<u8>>>,
    flush: F,
}

impl<F: FnMut()> Write for Kept<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lines.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        (self.flush)();
        Ok(())
    }
}

fn kept(flush: impl FnMut() + Send + 'static) -> (impl Write + Send + 'static, Arc<Mutex<Vec<u8>>>) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    (Kept { lines: Arc::clone(&lines), flush }, lines)
}

fn tell(object: &str) {
    event(Event::new(EventKind::Signal, Side::Host, object));
}

fn text(lines: &Mutex<Vec<u8>>) -> String {
    String::from_utf8(lines.lock().unwrap().clone()).unwrap()
}

#[test]
fn panic_in_flush_only_ends_the_trace() {
    let _alone = alone();
    trace_to(kept(|| panic!("of the sink")).0);
    tell("first");
    assert!(catch_unwind(trace_off).is_ok());
    let (sink, lines) = kept(|| ());
    trace_to(sink);
    tell("second");
    trace_off();
    assert!(text(&lines).contains("second") && !text(&lines).contains("first"));
}

#[test]
fn a_sink_that_is_flushed_may_wait_for_a_thread_that_sets_another() {
    let _alone = alone();
    let ((sink, lines), (told, tells)) = (kept(|| ()), channel());
    let mut sink = Some(sink);
    let flush = move || {
        let (done, waits) = channel();
        let sink = sink.take().unwrap();
        thread::spawn(move || {
            trace_to(sink);
            done.send(()).unwrap();
        });
        told.send(waits.recv_timeout(HANGS)).unwrap();
    };
    trace_to(kept(flush).0);
    trace_off();
    assert_ne!(tells.recv().unwrap(), Err(RecvTimeoutError::Timeout));
    tell("later");
    trace_off();
    assert!(text(&lines).contains("later"));
}

#[test]
fn sink_set_during_trace_off_becomes_the_next_sink() {
    let _alone = alone();
    let (sink, next) = kept(|| ());
    let mut sink = Some(sink);
    trace_to(kept(move || trace_to(sink.take().unwrap())).0);
    trace_off();
    tell("of the next");
    trace_off();
    assert!(text(&next).contains("of the next"));
    let (sink, lines) = kept(|| ());
    trace_to(sink);
    tell("of the last");
    tell("of the last");
    trace_off();
    assert_eq!(text(&lines).lines().count(), 2, "nothing is left of the one before");
}

/// A sink that sets another one and fails, like one whose file is full.
struct Fails<W>(Option<W>);

impl<W: Write + Send + 'static> Write for Fails<W> {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        trace_to(self.0.take().unwrap());
        Err(io::Error::other("it is full"))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn failing_sink_does_not_affect_the_sink_that_it_set() {
    let _alone = alone();
    let (sink, lines) = kept(|| ());
    trace_to(Fails(Some(sink)));
    tell("of the first");
    assert!(is_on(), "the next one has not failed");
    tell("of the next");
    trace_off();
    assert!(text(&lines).contains("of the next"));
    let full = Fails(None::<io::Sink>);
    trace_to(full);
    tell("nothing is there to be set");
    assert!(!is_on(), "no sink is left");
}

/// A thread that cannot call the sink leaves its lines to the thread that can, which may be one
/// that sets a sink.
#[test]
fn thread_that_sets_a_sink_writes_pending_lines() {
    let _alone = alone();
    trace_to(kept(|| ()).0);
    let (sink, lines) = kept(|| ());
    // Keeps this thread from calling the sink.
    let held = Held::new();
    tell("left");
    thread::spawn(|| trace_to(sink)).join().unwrap();
    assert!(text(&lines).contains("left"));
    drop(held);
    trace_off();
    assert_eq!(text(&lines).lines().count(), 1);
}

/// A logger that calls `init` again.
struct Logger;

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        init();
        println!("{}", record.args());
    }

    fn flush(&self) {}
}

/// The lines that wait for a blocked sink are limited, and missing lines are reported.
#[test]
fn lines_that_a_blocked_sink_does_not_take_are_dropped_and_counted() {
    struct Blocked<W>(W, Option<(std::sync::mpsc::Sender<()>, std::sync::mpsc::Receiver<()>)>);
    impl<W: Write> Write for Blocked<W> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if let Some((begun, goes_on)) = self.1.take() {
                begun.send(()).unwrap();
                goes_on.recv().unwrap();
            }
            self.0.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            self.0.flush()
        }
    }
    let _alone = alone();
    let ((sink, lines), (begin, begun), (go_on, goes_on)) = (kept(|| ()), channel(), channel());
    trace_to(Blocked(sink, Some((begin, goes_on))));
    let blocked = thread::spawn(|| tell("first"));
    begun.recv_timeout(HANGS).unwrap();
    // One line is with the sink.
    (0..(1 << 16) + 100).for_each(|_| tell("waits"));
    go_on.send(()).unwrap();
    blocked.join().unwrap();
    tell("last");
    trace_off();
    let text = text(&lines);
    let told: Vec<_> = text.lines().collect();
    assert_eq!(told.iter().filter(|line| line.contains("\"waits\"")).count(), 1 << 16);
    let [.., dropped, last] = &told[..] else { panic!() };
    assert!(dropped.contains("\"event\":\"dropped\"") && dropped.ends_with("\"count\":100}"), "{dropped}");
    assert!(last.contains("\"last\"") && told.len() == (1 << 16) + 3, "{last}");
}

/// Not a test: the other process, if the variable is set.
#[test]
fn the_other_process() {
    if std::env::var_os(OTHER).is_none() {
        return;
    }
    log::set_logger(&Logger).unwrap();
    log::set_max_level(log::LevelFilter::Error);
    init();
}

#[test]
fn logger_may_use_the_bridge_while_the_missing_trace_is_logged() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "the_other_process", "--nocapture"]).stdin(Stdio::null()).stdout(Stdio::piped());
    command.env(OTHER, "1").env(bridge_trace::VARIABLE, "/no/such/folder/trace");
    let mut process = command.spawn().unwrap();
    let start = Instant::now();
    while process.try_wait().unwrap().is_none() && start.elapsed() < HANGS {
        thread::sleep(Duration::from_millis(10));
    }
    let _ = process.kill();
    let ended = process.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success() && told.contains("running without a trace"), "{}: {told}", ended.status);
}
