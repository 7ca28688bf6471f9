//! Tests of sinks that are replaced or ended while they are called, and of the log messages.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::io::{self, Write};
use std::panic::catch_unwind;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::Duration;

use bridge_trace::{Event, EventKind, Held, Side, event, is_on, trace_off, trace_to};
use test_support::Sink;

/// Time limit of waits that would otherwise never end.
const HANGS: Duration = Duration::from_secs(30);

type Call = Box<dyn FnOnce() + Send>;

/// Keeps the log messages, and makes one call at the first record.
#[derive(Default)]
struct Logger {
    said: Mutex<Vec<String>>,
    call: Mutex<Option<Call>>,
}

static LOGGER: Logger = Logger { said: Mutex::new(Vec::new()), call: Mutex::new(None) };

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        self.said.lock().unwrap().push(record.args().to_string());
        let call = self.call.lock().unwrap().take();
        if let Some(call) = call {
            call();
        }
    }

    fn flush(&self) {}
}

/// Makes tests run one at a time, since a process has one trace and one logger.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    static ONCE: Once = Once::new();
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    ONCE.call_once(|| log::set_logger(&LOGGER).unwrap());
    log::set_max_level(log::LevelFilter::Error);
    LOGGER.said.lock().unwrap().clear();
    alone
}

fn said() -> String {
    LOGGER.said.lock().unwrap().join("\n")
}

fn tell(object: &str) {
    event(Event::new(EventKind::Signal, Side::Host, object));
}

/// A sink that makes one call at its first line and one when it is dropped.
#[derive(Default)]
struct Calls {
    lines: Sink,
    fails: bool,
    write: Option<Call>,
    _drop: AtDrop,
}

/// A separate type, so that a sink can be constructed from its fields.
#[derive(Default)]
struct AtDrop(Option<Call>);

impl Write for Calls {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(call) = self.write.take() {
            call();
        }
        if self.fails { Err(io::Error::other("it is full")) } else { self.lines.write(bytes) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for AtDrop {
    fn drop(&mut self) {
        if let Some(call) = self.0.take() {
            call();
        }
    }
}

fn sets(lines: &Sink) -> Option<Call> {
    let lines = lines.clone();
    Some(Box::new(move || trace_to(lines)))
}

#[test]
fn the_drop_of_a_sink_that_has_failed_may_set_the_next() {
    let _alone = alone();
    let next = Sink::default();
    trace_to(Calls { fails: true, _drop: AtDrop(sets(&next)), ..Calls::default() });
    tell("of the first");
    assert!(is_on());
    tell("of the next");
    trace_off();
    assert!(next.text().contains("of the next"), "{}", next.text());
    assert!(said().contains("continues with the sink that replaced it") && !said().contains("ends here"), "{}", said());
}

#[test]
fn logger_may_set_the_next_sink_while_a_failure_is_logged() {
    let _alone = alone();
    let next = Sink::default();
    *LOGGER.call.lock().unwrap() = sets(&next);
    trace_to(Calls { fails: true, ..Calls::default() });
    tell("of the first");
    assert!(is_on() && said().contains("the trace ends here"), "{}", said());
    tell("of the next");
    trace_off();
    assert!(next.text().contains("of the next"), "{}", next.text());
}

#[test]
fn replaced_sink_gets_no_further_line() {
    let _alone = alone();
    let (first, next) = (Sink::default(), Sink::default());
    trace_to(Calls { lines: first.clone(), write: sets(&next), ..Calls::default() });
    let held = Held::new();
    ["one", "two", "three"].into_iter().for_each(tell);
    drop(held);
    trace_off();
    assert_eq!([first.text().lines().count(), next.text().lines().count()], [1, 2]);
    assert!(first.text().contains("one") && next.text().contains("two") && next.text().contains("three"));
}

#[test]
fn sink_that_fails_and_panics_at_the_end_affects_nothing_else() {
    let _alone = alone();
    let next = Sink::default();
    let (write, drop) = (sets(&next), AtDrop(Some(Box::new(|| panic!("of the sink")))));
    trace_to(Calls { fails: true, write, _drop: drop, ..Calls::default() });
    // The sink's line is waiting when the trace ends.
    let held = Held::new();
    tell("of the first");
    assert!(catch_unwind(trace_off).is_ok());
    std::mem::drop(held);
    assert!(is_on(), "the next one was set after the end");
    tell("of the next");
    trace_off();
    assert!(next.text().contains("of the next"), "{}", next.text());
}

#[test]
fn a_sink_that_is_replaced_is_flushed() {
    struct Flushed(std::sync::mpsc::Sender<()>);
    impl Write for Flushed {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            self.0.send(()).map_err(io::Error::other)
        }
    }
    let _alone = alone();
    let (flush, flushed) = channel();
    trace_to(Flushed(flush));
    trace_to(io::sink());
    assert_eq!(flushed.try_iter().count(), 1);
    trace_off();
}

/// Returns a call that waits for another thread to make `call`, and the result of that wait.
fn waits_for(call: impl FnOnce() + Send + 'static) -> (Option<Call>, Receiver<Result<(), RecvTimeoutError>>) {
    let (tell, told) = channel();
    let waits = move || {
        let (done, ends) = channel();
        thread::spawn(move || {
            call();
            done.send(()).unwrap();
        });
        tell.send(ends.recv_timeout(HANGS)).unwrap();
    };
    (Some(Box::new(waits)), told)
}

#[test]
fn a_sink_that_writes_may_wait_for_a_thread_that_sets_another() {
    let _alone = alone();
    let (first, next) = (Sink::default(), Sink::default());
    let (write, told) = waits_for(sets(&next).unwrap());
    trace_to(Calls { lines: first.clone(), write, ..Calls::default() });
    tell("of the first");
    assert_eq!(told.recv().unwrap(), Ok(()));
    tell("of the next");
    trace_off();
    assert!(first.text().contains("of the first") && next.text().contains("of the next"));
    assert_eq!([first.text().lines().count(), next.text().lines().count()], [1, 1]);
}

#[test]
fn a_sink_that_writes_may_wait_for_a_thread_that_ends_the_trace() {
    let _alone = alone();
    let (lines, (drops, dropped)) = (Sink::default(), channel());
    let (write, told) = waits_for(trace_off);
    let drop = AtDrop(Some(Box::new(move || drops.send(()).unwrap())));
    trace_to(Calls { lines: lines.clone(), write, _drop: drop, ..Calls::default() });
    let held = Held::new();
    ["one", "two"].into_iter().for_each(tell);
    std::mem::drop(held);
    assert_eq!(told.recv().unwrap(), Ok(()));
    assert!(said().contains("has not returned"), "{}", said());
    // The thread that has called the sink ends it, after the waiting lines.
    dropped.recv_timeout(HANGS).unwrap();
    assert!(!is_on() && lines.text().lines().count() == 2, "{}", lines.text());
}
