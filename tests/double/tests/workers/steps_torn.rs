//! A worker in step that computes with CUDA, with a scripted renderer: the signal of an announced
//! frame fails while earlier frames still run.
#![allow(unsafe_code, clippy::unwrap_used, reason = "a test")]

use std::sync::{Arc, Barrier};

use crate::common::renderer::{Exports, Renderer, connect};
use crate::common::{assert_clean, assert_follows_queries};
use bridge_worker::bridge_ipc::{Listener, Message};
use bridge_worker::{Buffer, Error, ExchangeWriter};
use cuda_import::cudarc::driver::DriverError;
use cuda_import::cudarc::driver::sys::{CUgraphInstantiate_flags, CUresult, CUstreamCaptureMode};
use cuda_import::report;
use driver_double::Double;

/// `CUDA_ERROR_INVALID_VALUE`
const INVALID_VALUE: u32 = 1;

/// The number of times that the worker finds the first frame unfinished.
const QUERIES: usize = 3;

/// The value of the renderer's timeline that the first frame waits for.
const DRAWN: u64 = 5;

/// Why the signal fails, and what happens to the previous frame.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Failure {
    /// The program has left the stream captured, and the turn is dropped.
    Captured,
    /// An earlier call has recorded an error in cudarc, and the turn is finished.
    Recorded,
    /// The same, after the end of the previous frame could not be marked.
    Unmarked,
    /// The same, and the previous frame does not end in time.
    Stuck,
}

/// An announced value is signaled only after earlier frames have ended, because the renderer
/// considers a frame complete once its value, or a higher one, is reached.
#[test]
fn an_announced_value_is_signaled_after_the_frames_that_still_run() {
    const NAME: &str = "steps_torn::an_announced_value_is_signaled_after_the_frames_that_still_run";
    let Some(double) = Double::in_child(NAME) else { return };
    for failure in [Failure::Captured, Failure::Recorded, Failure::Unmarked, Failure::Stuck] {
        // cudarc leaves its context current on the thread, even if it is destroyed.
        std::thread::scope(|scope| scope.spawn(|| fail_after_a_running_frame(&double, failure)).join().unwrap());
    }
}

/// Runs two frames: the first waits for the renderer, and the signal of the second fails.
fn fail_after_a_running_frame(double: &Double, failure: Failure) {
    let gpu = report().unwrap().devices[0].uuid;
    let (exports, ended) = (Exports::new(double), Barrier::new(2));
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::bind(folder.path().join("s")).unwrap();
    std::thread::scope(|scope| {
        let renderer = scope.spawn(|| {
            let mut renderer = Renderer::offer(&listener, gpu, true, &exports.all());
            assert_eq!(renderer.receive(), Message::Ready { exchange: 1 });
            for (slot, value) in [(0, DRAWN), (1, 0)] {
                renderer.send(Message::Free { exchange: 1, slot, value });
            }
            for frame in 0..2 {
                assert!(matches!(renderer.receive(), Message::Publish { frame: of, .. } if of == frame));
            }
            assert!(matches!(renderer.receive(), Message::Torn { frame: 1, .. }));
            let value = || double.value(exports.computed.1);
            if failure == Failure::Stuck {
                ended.wait();
                assert_eq!(value(), 0, "the first frame runs");
                double.signal(exports.rendered.1, DRAWN);
            }
            let last = if failure == Failure::Stuck { 1 } else { 2 };
            double.wait_until("what was announced", |_| value() == last);
            while renderer.receive() != (Message::Close { exchange: 1 }) {}
            assert_eq!(value(), last);
        });
        let worker = connect(listener.path()).unwrap();
        let mut exchange = worker.exchange("x").unwrap();
        fail(double, &mut exchange, failure, exports.rendered.1);
        if failure == Failure::Stuck {
            ended.wait();
            double.wait_until("the first frame to end", |double| double.value(exports.computed.1) == 1);
        }
        assert!(matches!(exchange.begin(), Err(Error::Closed { .. })));
        drop((exchange, worker));
        renderer.join().unwrap();
    });
    drop(exports);
    assert_clean(double);
}

/// Writes two frames. The second is announced before its work and cannot be signaled. Unless the
/// first is [`Stuck`](Failure::Stuck), it ends while the worker waits for it.
fn fail(double: &Double, exchange: &mut ExchangeWriter<Buffer<f32>>, failure: Failure, rendered: u64) {
    if failure == Failure::Unmarked {
        double.fail_named("cuEventRecord", 1, INVALID_VALUE);
    }
    exchange.begin().unwrap().finish().unwrap();
    double.disarm();
    let stream = Arc::clone(exchange.stream().unwrap());
    let mut turn = exchange.begin().unwrap();
    turn.announce().unwrap();
    double.forget_calls();
    let query = if failure == Failure::Unmarked { "cuStreamQuery" } else { "cuEventQuery" };
    if failure != Failure::Stuck {
        // The wait has a time limit, so the worker's thread itself ends it.
        double.signal_after_queries(query, QUERIES as u64, rendered, DRAWN);
    }
    if failure == Failure::Captured {
        stream.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).unwrap();
        drop(turn);
        drop(stream.end_capture(CUgraphInstantiate_flags(0)).unwrap());
    } else {
        stream.context().record_err(Err::<(), _>(DriverError(CUresult::CUDA_ERROR_INVALID_VALUE)));
        turn.finish().unwrap_err();
    }
    if failure != Failure::Stuck {
        assert_follows_queries(double, "cuSignalExternalSemaphoresAsync", query, QUERIES);
    }
}
