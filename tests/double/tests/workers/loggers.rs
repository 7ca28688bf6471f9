//! Loggers that panic do not change what a worker in step signals, and loggers may use the worker.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::assert_clean;
use crate::common::renderer::{Exports, LIMIT, Renderer, connect};
use bridge_worker::bridge_ipc::{Listener, Message};
use bridge_worker::{Backend, Buffer, ExchangeWriter, Worker, WorkerInfo};
use cuda_import::report;
use driver_double::Double;

/// `CUDA_ERROR_OUT_OF_MEMORY`
const NO_MEMORY: u32 = 2;

/// A logger that panics without printing a panic message.
struct PanickingLogger;

static SAID: AtomicUsize = AtomicUsize::new(0);

impl log::Log for PanickingLogger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, _: &log::Record<'_>) {
        SAID.fetch_add(1, Ordering::SeqCst);
        std::panic::resume_unwind(Box::new("the logger panics"));
    }

    fn flush(&self) {}
}

/// Runs a renderer that frees this number of slots, which `work` uses, and `work` on the worker's
/// exchange. At least one line must be logged.
fn in_step(
    double: &Double,
    slots: u32,
    render: impl Fn(&mut Renderer, &Exports) + Sync,
    work: fn(&Double, &mut ExchangeWriter<Buffer<f32>>),
) {
    log::set_logger(&PanickingLogger).unwrap();
    let gpu = report().unwrap().devices[0].uuid;
    let exports = Exports::new(double);
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::bind(folder.path().join("s")).unwrap();
    std::thread::scope(|scope| {
        let renderer = scope.spawn(|| {
            let mut renderer = Renderer::offer(&listener, gpu, true, &exports.all());
            assert_eq!(renderer.receive(), Message::Ready { exchange: 1 });
            (0..slots).for_each(|slot| renderer.send(Message::Free { exchange: 1, slot, value: 0 }));
            render(&mut renderer, &exports);
            assert_eq!(renderer.receive(), Message::Close { exchange: 1 });
        });
        let worker = connect(listener.path()).unwrap();
        let mut exchange = worker.exchange("x").unwrap();
        log::set_max_level(log::LevelFilter::Trace);
        work(double, &mut exchange);
        drop((exchange, worker));
        renderer.join().unwrap();
    });
    assert!(SAID.load(Ordering::SeqCst) > 0, "the logger was not called: this test is void");
    drop(exports);
    assert_clean(double);
}

/// If the event after a frame's signal cannot be recorded, the signal is still enqueued and its
/// value is used.
#[test]
fn a_frame_whose_event_cannot_be_recorded_uses_its_value() {
    const NAME: &str = "loggers::a_frame_whose_event_cannot_be_recorded_uses_its_value";
    let Some(double) = Double::in_child(NAME) else { return };
    let render = |renderer: &mut Renderer, exports: &Exports| {
        for of in 0..2 {
            let Message::Publish { frame, value, .. } = renderer.receive() else { panic!() };
            assert_eq!((frame, value), (of, of + 1));
            double.wait_until("its value", |double| double.value(exports.computed.1) >= value);
        }
    };
    in_step(&double, 2, render, |double, exchange| {
        let turn = exchange.begin().unwrap();
        double.fail_named("cuEventRecord", 1, NO_MEMORY);
        turn.finish().unwrap();
        double.disarm();
        exchange.begin().unwrap().finish().unwrap();
    });
}

#[test]
fn an_announced_frame_that_is_dropped_is_torn_and_signaled() {
    const NAME: &str = "loggers::an_announced_frame_that_is_dropped_is_torn_and_signaled";
    let Some(double) = Double::in_child(NAME) else { return };
    let render = |renderer: &mut Renderer, exports: &Exports| {
        let Message::Publish { frame, value, .. } = renderer.receive() else { panic!() };
        assert_eq!((frame, value), (0, 1));
        assert!(matches!(renderer.receive(), Message::Torn { frame: 0, .. }));
        double.wait_until("its value", |double| double.value(exports.computed.1) >= value);
    };
    in_step(&double, 1, render, |_, exchange| {
        let mut turn = exchange.begin().unwrap();
        turn.announce().unwrap();
        // A panic in here would be a panic in a destructor.
        drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || drop(turn))));
    });
}

/// A logger that lets another thread use the worker, and waits for it.
struct CallingLogger;

static WORKER: Mutex<Option<Arc<Worker>>> = Mutex::new(None);

impl log::Log for CallingLogger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if !record.args().to_string().contains("no thread could be started") {
            return;
        }
        let worker = WORKER.lock().unwrap().clone().unwrap();
        let (sender, ends) = std::sync::mpsc::channel();
        // It is not offered twice.
        let call = move || {
            let is_refused = worker.exchange::<Buffer<f32>>("x").is_err();
            // Before the test goes on, which drops the worker and expects that nothing is left.
            drop(worker);
            sender.send(is_refused).unwrap();
        };
        thread().spawn(call).unwrap();
        assert!(ends.recv_timeout(LIMIT).unwrap_or(false), "another thread waits for this one");
        SAID.fetch_add(1, Ordering::SeqCst);
    }

    fn flush(&self) {}
}

/// A thread with a stack of its own size.
fn thread() -> std::thread::Builder {
    std::thread::Builder::new().stack_size(2 << 20)
}

/// A logger may use the worker, or a lock of a thread that does.
#[test]
fn a_thread_that_does_not_start_is_logged_without_a_lock() {
    const NAME: &str = "loggers::a_thread_that_does_not_start_is_logged_without_a_lock";
    /// A stack size with which no thread starts.
    const TOO_LARGE: (&str, &str) = ("RUST_MIN_STACK", "1152921504606846976");
    if std::env::var(TOO_LARGE.0).as_deref() != Ok(TOO_LARGE.1) {
        let program = std::env::current_exe().unwrap();
        let child = Command::new(program).args([NAME, "--exact", "--nocapture"]).env(TOO_LARGE.0, TOO_LARGE.1).status();
        assert!(child.unwrap().success());
        return;
    }
    let Some(double) = Double::in_child(NAME) else { return };
    log::set_logger(&CallingLogger).unwrap();
    log::set_max_level(log::LevelFilter::Warn);
    let gpu = report().unwrap().devices[0].uuid;
    let exports = Exports::new(&double);
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::bind(folder.path().join("s")).unwrap();
    std::thread::scope(|scope| {
        let render = || {
            let mut renderer = Renderer::offer(&listener, gpu, true, &exports.all());
            assert_eq!(renderer.receive(), Message::Ready { exchange: 1 });
            assert_eq!(renderer.receive(), Message::Close { exchange: 1 });
        };
        let renderer = thread().spawn_scoped(scope, render).unwrap();
        // The time that the call of the logger waits for an offer, and the limit of the connection.
        let timeout = Duration::from_secs(5);
        let info = WorkerInfo { backend: Some(Backend::Cuda), timeout, trust: true, ..Default::default() };
        let worker = Arc::new(Worker::connect_with(listener.path(), &info).unwrap());
        *WORKER.lock().unwrap() = Some(Arc::clone(&worker));
        drop(worker.exchange::<Buffer<f32>>("x").unwrap());
        WORKER.lock().unwrap().take();
        drop(worker);
        renderer.join().unwrap();
    });
    assert_eq!(SAID.load(Ordering::SeqCst), 1, "a thread has started, or the call of the logger has waited");
    drop(exports);
    assert_clean(&double);
}
