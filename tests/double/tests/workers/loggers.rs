//! A panicking logger does not change what a worker in step signals.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::common::assert_clean;
use crate::common::renderer::{Exports, Renderer, connect};
use bridge_worker::bridge_ipc::{Listener, Message};
use bridge_worker::{Buffer, ExchangeWriter};
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

/// Runs a renderer whose two slots are free, and `work` on the worker's exchange. At least one line
/// must be logged.
fn in_step(
    double: &Double,
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
            (0..2).for_each(|slot| renderer.send(Message::Free { exchange: 1, slot, value: 0 }));
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
    in_step(&double, render, |double, exchange| {
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
    in_step(&double, render, |_, exchange| {
        let mut turn = exchange.begin().unwrap();
        turn.announce().unwrap();
        // A panic in here would be a panic in a destructor.
        drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || drop(turn))));
    });
}
