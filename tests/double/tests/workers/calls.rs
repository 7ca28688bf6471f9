//! The driver calls of a worker in step: of a frame, and of a child that the worker forks.
#![allow(unsafe_code, clippy::unwrap_used, reason = "a test")]

use crate::common::assert_clean;
use crate::common::renderer::{Exports, Renderer, connect};
use bridge_worker::bridge_ipc::{self, Listener, Message};
use bridge_worker::{Buffer, Error, ExchangeTurn, ExchangeWriter, Worker};
use cuda_import::report;
use driver_double::Double;

const FRAMES: u64 = 6;
const SIGNAL: &str = "cuSignalExternalSemaphoresAsync";

/// Runs a renderer that takes [`FRAMES`] frames, and `work` with the worker and its exchange.
fn in_step(double: &Double, work: impl FnOnce(Worker, ExchangeWriter<Buffer<f32>>)) {
    let gpu = report().unwrap().devices[0].uuid;
    let exports = Exports::new(double);
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::bind(folder.path().join("s")).unwrap();
    std::thread::scope(|scope| {
        let renderer = scope.spawn(|| {
            let mut renderer = Renderer::offer(&listener, gpu, true, &exports.all());
            assert_eq!(renderer.receive(), Message::Ready { exchange: 1 });
            for frame in 0..FRAMES {
                renderer.send(Message::Free { exchange: 1, slot: (frame % 2) as u32, value: 0 });
                assert!(matches!(renderer.receive(), Message::Publish { frame: of, .. } if of == frame));
            }
            assert_eq!(renderer.receive(), Message::Close { exchange: 1 });
        });
        let worker = connect(listener.path()).unwrap();
        let exchange = worker.exchange("x").unwrap();
        work(worker, exchange);
        renderer.join().unwrap();
    });
    drop(exports);
    assert_clean(double);
}

/// The event of a frame's end is recorded right after its signal: which context is current, and
/// whether the stream is being captured, is asked once for both.
#[test]
fn the_end_of_a_frame_is_marked_by_one_more_call() {
    let Some(double) = Double::in_child("calls::the_end_of_a_frame_is_marked_by_one_more_call") else { return };
    in_step(&double, |_worker, mut exchange| {
        // Otherwise each call makes the context current, and then restores the previous one.
        exchange.stream().unwrap().context().bind_to_thread().unwrap();
        for _ in 0..FRAMES {
            let turn = exchange.begin().unwrap();
            double.forget_calls();
            turn.finish().unwrap();
            let calls: Vec<_> = double.calls().into_iter().map(|call| call.name).collect();
            let rest = calls.iter().skip_while(|call| *call != SIGNAL).filter(|call| *call != "cuEventCreate");
            assert_eq!(rest.collect::<Vec<_>>(), [SIGNAL, "cuEventRecord"], "{calls:?}");
        }
    });
}

/// Runs `run` in a forked child, and waits for its end. Panics if `run` panics or takes longer than
/// 20 seconds.
pub(crate) fn in_a_child(run: impl FnOnce()) {
    // SAFETY: `fork` in a process with several threads: the child has only this one, so it must not
    // need a lock that another thread may have held. Those of the allocator are free (glibc, musl),
    // and `run` takes no others.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: `alarm` has no requirements; the child handles no signals, so this one ends it.
        unsafe { libc::alarm(20) };
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
        // SAFETY: `_exit` may be called at any time; no destructor of the parent's runs.
        unsafe { libc::_exit(i32::from(ran.is_err())) }
    }
    let mut status = 0;
    // SAFETY: `waitpid`: `status` is a place for an int.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!((waited, status), (child, 0));
}

/// Runs `call` in a forked child, where it returns an error and makes no driver call.
pub(crate) fn is_refused_in_a_child<T>(double: &Double, call: impl FnOnce() -> Result<T, Error>) {
    double.forget_calls();
    in_a_child(|| {
        let error = call().err().expect("it succeeds in a forked child");
        assert!(matches!(error, Error::Connection(bridge_ipc::Error::Forked { .. })), "{error:?}");
        let calls: Vec<_> = double.calls().into_iter().map(|call| call.name).collect();
        assert!(calls.is_empty(), "{calls:?}");
    });
}

/// Calls of a forked child return errors before they call the driver. A child that drops its copy
/// of a worker makes no driver call, and does not wait for the thread of its parent that acts when
/// the renderer dies. The parent goes on.
#[test]
fn a_forked_child_leaves_the_driver_to_its_parent() {
    let Some(double) = Double::in_child("calls::a_forked_child_leaves_the_driver_to_its_parent") else { return };
    in_step(&double, |worker, mut exchange| {
        exchange.begin().unwrap().finish().unwrap();
        is_refused_in_a_child(&double, || exchange.begin().map(drop));
        let ends: [fn(_) -> _; 3] = [ExchangeTurn::finish, ExchangeTurn::skip, |mut turn| turn.announce()];
        let mut turn = Some(exchange.begin().unwrap());
        for end in ends {
            // The child has its own copy of the turn.
            is_refused_in_a_child(&double, || end(turn.take().unwrap()));
        }
        turn.unwrap().finish().unwrap();
        // A frame that is not known to have ended has an event.
        let mut all = Some((exchange, worker));
        double.forget_calls();
        // The child has its own copy of `all`. No other thread of the parent calls the driver.
        in_a_child(|| {
            drop(all.take());
            assert_eq!(double.calls().len(), 0);
        });
        let (mut exchange, _worker) = all.unwrap();
        (2..FRAMES).for_each(|_| exchange.begin().unwrap().finish().unwrap());
    });
}
