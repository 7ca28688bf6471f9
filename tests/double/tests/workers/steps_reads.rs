//! A worker in step that reads with CUDA, with a scripted renderer: it receives frames that are not
//! drawn yet, and returns slots before its work has ended.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use crate::calls::is_refused_in_a_child;
use crate::common::assert_clean;
use crate::common::renderer::{Exports, LEN, LIMIT, Renderer, connect};
use bridge_worker::bridge_ipc::{Code, Direction, Listener, Message};
use bridge_worker::{Buffer, Error, ExchangeReader, Read};
use cuda_import::report;
use driver_double::Double;

/// Takes the next frame, gives it back and returns its number.
fn read(reader: &mut ExchangeReader<Buffer<f32>>) -> Result<u64, Error> {
    let turn = reader.next(LIMIT)?.expect("no frame comes");
    let Read::Cuda(cuda) = turn.work() else { panic!("computes with CUDA") };
    assert_eq!(cuda.resources.len() as u64, LEN);
    let frame = turn.frame();
    turn.finish()?;
    Ok(frame)
}

/// Runs a renderer that has offered its exchange in step, and `work` on the worker's reader.
fn in_step(
    double: &Double,
    render: impl Fn(&mut Renderer, &Exports) + Sync,
    work: impl FnOnce(&mut ExchangeReader<Buffer<f32>>),
) {
    let gpu = report().unwrap().devices[0].uuid;
    let exports = Exports::new(double);
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::bind(folder.path().join("s")).unwrap();
    std::thread::scope(|scope| {
        let renderer = scope.spawn(|| {
            let direction = Direction::RendererWrites;
            let mut renderer = Renderer::offer_in(direction, &listener, gpu, true, &exports.all());
            assert_eq!(renderer.receive(), Message::Ready { exchange: 1 });
            render(&mut renderer, &exports);
            assert_eq!(renderer.receive(), Message::Close { exchange: 1 });
        });
        let worker = connect(listener.path()).unwrap();
        let mut reader = worker.exchange_reader("x").unwrap();
        work(&mut reader);
        drop((reader, worker));
        renderer.join().unwrap();
    });
    drop(exports);
    assert_clean(double);
}

fn publish(slot: u32, frame: u64, value: u64) -> Message {
    Message::Publish { exchange: 1, slot, frame, value }
}

fn freed(renderer: &mut Renderer) -> (u32, u64) {
    let Message::Free { slot, value, .. } = renderer.receive() else { panic!("no slot comes back") };
    (slot, value)
}

/// The host does not wait: the stream waits, and the slot is announced as returned meanwhile.
#[test]
fn a_slot_is_given_back_while_the_stream_waits_for_its_frame() {
    const NAME: &str = "steps_reads::a_slot_is_given_back_while_the_stream_waits_for_its_frame";
    const FRAMES: u64 = 20;
    let Some(double) = Double::in_child(NAME) else { return };
    let (end, ended) = channel();
    let render = |renderer: &mut Renderer, exports: &Exports| {
        for frame in 0..FRAMES {
            // Vulkan's commands on the slot are submitted, but have not run.
            renderer.send(publish((frame % 2) as u32, frame, frame + 1));
            assert_eq!(freed(renderer), ((frame % 2) as u32, frame + 1));
            // The signal was enqueued before the slot was returned, and the double has run all work
            // that is ready.
            assert_eq!(double.value(exports.computed.1), frame, "frame {frame} did not wait for the renderer");
            double.signal(exports.rendered.1, frame + 1);
            double.wait_until("the frame to be read", |double| double.value(exports.computed.1) == frame + 1);
        }
        end.send(()).unwrap();
    };
    in_step(&double, render, |reader| {
        assert!((0..FRAMES).all(|frame| read(reader).unwrap() == frame));
        // Dropping the reader waits for the last frame only up to a limit.
        ended.recv_timeout(LIMIT).unwrap();
    });
}

/// A frame that the renderer takes back is not delivered, and its slot is returned like any other.
#[test]
fn a_frame_that_is_taken_back_is_skipped_and_its_slot_given_back() {
    const NAME: &str = "steps_reads::a_frame_that_is_taken_back_is_skipped_and_its_slot_given_back";
    let Some(double) = Double::in_child(NAME) else { return };
    let (sender, receiver) = channel();
    let receiver = Mutex::new(receiver);
    let render = |renderer: &mut Renderer, exports: &Exports| {
        renderer.send(publish(1, 3, 2));
        renderer.send(Message::Torn { exchange: 1, slot: 1, frame: 3 });
        renderer.send(publish(0, 5, 4));
        double.signal(exports.rendered.1, 4);
        sender.send(()).unwrap();
        assert_eq!([freed(renderer), freed(renderer)], [(1, 1), (0, 2)]);
        double.wait_until("both to be read", |double| double.value(exports.computed.1) == 2);
    };
    in_step(&double, render, |reader| {
        // All messages are in the socket.
        receiver.lock().unwrap().recv().unwrap();
        assert_eq!(read(reader).unwrap(), 5);
        assert!(reader.next(Duration::ZERO).unwrap().is_none());
    });
}

/// Frames sent before a planned end are read before the end is reported, and their slots are
/// signaled.
#[test]
fn frames_before_a_planned_end_are_read() {
    let Some(double) = Double::in_child("steps_reads::frames_before_a_planned_end_are_read") else { return };
    let gpu = report().unwrap().devices[0].uuid;
    for closes in [false, true] {
        let exports = Exports::new(&double);
        let folder = tempfile::tempdir().unwrap();
        let listener = Listener::bind(folder.path().join("s")).unwrap();
        let (end, ended) = channel();
        std::thread::scope(|scope| {
            let renderer = scope.spawn(|| {
                let direction = Direction::RendererWrites;
                let mut renderer = Renderer::offer_in(direction, &listener, gpu, true, &exports.all());
                assert_eq!(renderer.receive(), Message::Ready { exchange: 1 });
                (0..2).for_each(|frame| renderer.send(publish(frame as u32, frame, frame + 1)));
                if closes {
                    renderer.send(Message::Close { exchange: 1 });
                } else {
                    renderer.connection.close(Code::Done, "for a test");
                }
                double.signal(exports.rendered.1, 2);
                end.send(()).unwrap();
                renderer
            });
            let worker = connect(listener.path()).unwrap();
            let mut reader = worker.exchange_reader("x").unwrap();
            // All messages are in the socket.
            ended.recv().unwrap();
            assert_eq!([read(&mut reader).unwrap(), read(&mut reader).unwrap()], [0, 1]);
            assert!(matches!(reader.next(LIMIT), Err(Error::Closed { .. })));
            drop((reader, worker));
            drop(renderer.join().unwrap());
        });
        drop(exports);
        assert_clean(&double);
        double.forget();
    }
}

/// Dropping a turn also gives its slot back.
#[test]
fn a_turn_that_is_dropped_is_finished() {
    let Some(double) = Double::in_child("steps_reads::a_turn_that_is_dropped_is_finished") else { return };
    let render = |renderer: &mut Renderer, exports: &Exports| {
        double.signal(exports.rendered.1, 1);
        renderer.send(publish(0, 0, 1));
        assert_eq!(freed(renderer), (0, 1));
        double.wait_until("it to be read", |double| double.value(exports.computed.1) == 1);
    };
    in_step(&double, render, |reader| drop(reader.next(LIMIT).unwrap().unwrap()));
}

/// A forked child gets errors instead of driver calls, and the parent goes on with its turn.
#[test]
fn a_forked_child_ends_no_turn_of_its_parent() {
    let Some(double) = Double::in_child("steps_reads::a_forked_child_ends_no_turn_of_its_parent") else { return };
    let render = |renderer: &mut Renderer, exports: &Exports| {
        double.signal(exports.rendered.1, 1);
        renderer.send(publish(0, 0, 1));
        assert_eq!(freed(renderer), (0, 1));
    };
    in_step(&double, render, |reader| {
        let mut turn = Some(reader.next(LIMIT).unwrap().unwrap());
        is_refused_in_a_child(&double, || turn.take().unwrap().finish());
        turn.unwrap().finish().unwrap();
        is_refused_in_a_child(&double, || reader.next(LIMIT).map(drop));
    });
}

/// Whichever driver call fails, a slot is given back with a value that will be signaled, or not at
/// all.
#[test]
fn a_slot_that_is_given_back_is_signaled_whatever_fails() {
    let Some(double) = Double::in_child("steps_reads::a_slot_that_is_given_back_is_signaled_whatever_fails") else {
        return;
    };
    let mut failed = 0;
    for nth in 1.. {
        // cudarc leaves its context current on the thread, even if it is destroyed.
        let (hit, is_failed) =
            std::thread::scope(|scope| scope.spawn(|| finish_with_a_failure(&double, nth)).join().unwrap());
        failed += usize::from(is_failed);
        if !hit {
            break;
        }
    }
    assert!(failed > 0, "no call was the signal");
}

/// Finishes a frame while the `nth` driver call from `finish` on fails, after a frame without
/// failures. Returns whether there is such a call, and whether `finish` failed.
fn finish_with_a_failure(double: &Double, nth: u64) -> (bool, bool) {
    let (end, ended) = channel::<bool>();
    let ended = Mutex::new(ended);
    let render = |renderer: &mut Renderer, exports: &Exports| {
        double.signal(exports.rendered.1, 2);
        (0..2).for_each(|frame| renderer.send(publish(frame as u32, frame, frame + 1)));
        assert_eq!(freed(renderer), (0, 1));
        if !ended.lock().unwrap().recv().unwrap() {
            assert_eq!(freed(renderer), (1, 2));
            double.wait_until("its value", |double| double.value(exports.computed.1) == 2);
        }
    };
    let mut outcome = (false, false);
    in_step(double, render, |reader| {
        assert_eq!(read(reader).unwrap(), 0);
        let turn = reader.next(LIMIT).unwrap().unwrap();
        double.fail_nth(nth, INVALID_VALUE, false);
        let failed = turn.finish().is_err();
        outcome = (double.disarm().is_some(), failed);
        if failed {
            assert!(matches!(reader.next(LIMIT), Err(Error::Closed { .. })), "it gives frames still");
        }
        end.send(failed).unwrap();
    });
    outcome
}

/// `CUDA_ERROR_INVALID_VALUE`
const INVALID_VALUE: u32 = 1;
