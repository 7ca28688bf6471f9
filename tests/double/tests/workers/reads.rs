//! A worker that reads with CUDA, with a scripted renderer: when slots are returned, and its
//! behavior when a driver call fails.
#![allow(unsafe_code, clippy::unwrap_used, reason = "a test")]

use std::sync::mpsc::channel;

use crate::calls::is_refused_in_a_child;
use crate::common::assert_clean;
use crate::common::renderer::{Exports, LEN, LIMIT, Renderer, connect};
use crate::common::world::{device, import_semaphore};
use bridge_worker::bridge_ipc::{Direction, Listener, Message};
use bridge_worker::{Buffer, Read};
use cuda_import::cudarc::driver::DevicePtr;
use cuda_import::{SemaphoreKind, query, report};
use driver_double::Double;

#[test]
fn a_frame_that_was_read_is_given_back_after_its_work() {
    let Some(double) = Double::in_child("reads::a_frame_that_was_read_is_given_back_after_its_work") else { return };
    let owned = Exports::new(&double);
    let folder = tempfile::tempdir().unwrap();
    let listener = &Listener::bind(folder.path().join("s")).unwrap();
    let (exports, double) = (&owned, &double);
    let (have, had) = channel();
    std::thread::scope(|scope| {
        let renderer = scope.spawn(move || {
            let mut renderer = offer(listener, exports);
            publish(&mut renderer, double, exports, 0, 1);
            had.recv().unwrap();
            publish(&mut renderer, double, exports, 1, 2);
            let Message::Free { slot: 0, value, .. } = renderer.receive() else { panic!() };
            assert_eq!((value, double.value(exports.computed.1)), (1, 0), "its work is held");
            double.release_work();
            double.wait_until("the reader's work to end", |double| double.value(exports.computed.1) == value);
            assert_eq!(renderer.receive(), Message::Close { exchange: 1 });
        });
        let worker = connect(listener.path()).unwrap();
        let mut reader = worker.latest_reader::<Buffer<f32>>("x").unwrap();
        double.hold_work();
        for frame in 0..2 {
            assert!(reader.wait_for_newer(LIMIT).unwrap());
            let turn = reader.newest().unwrap().unwrap();
            assert_eq!(turn.frame(), frame);
            let Read::Cuda(cuda) = turn.work() else { panic!() };
            assert_eq!(cuda.resources.len() as u64, LEN);
            drop(turn);
            if frame == 0 {
                have.send(()).unwrap();
            }
        }
        // Dropping the reader waits for that only up to a limit.
        double.wait_until("the first frame's work to end", |double| double.value(exports.computed.1) == 1);
        drop((reader, worker));
        renderer.join().unwrap();
    });
    drop(owned);
    assert_clean(double);
}

/// A slot is returned only after work on the program's own streams, even if the turn was forgotten.
#[test]
fn a_slot_is_given_back_after_the_work_of_a_forgotten_turn() {
    let Some(double) = Double::in_child("reads::a_slot_is_given_back_after_the_work_of_a_forgotten_turn") else {
        return;
    };
    let owned = Exports::new(&double);
    let exported = double.export_semaphore(true);
    let gate = exported.number;
    let folder = tempfile::tempdir().unwrap();
    let listener = &Listener::bind(folder.path().join("s")).unwrap();
    let (exports, double) = (&owned, &double);
    let ((freed, values), (see, seen)) = (channel(), channel());
    std::thread::scope(|scope| {
        let renderer = scope.spawn(move || {
            let mut renderer = offer(listener, exports);
            publish(&mut renderer, double, exports, 0, 1);
            seen.recv().unwrap();
            publish(&mut renderer, double, exports, 1, 2);
            let Message::Free { slot: 0, value, .. } = renderer.receive() else { panic!() };
            freed.send(value).unwrap();
            assert_eq!(renderer.receive(), Message::Close { exchange: 1 });
        });
        let worker = connect(listener.path()).unwrap();
        let mut reader = worker.latest_reader::<Buffer<f32>>("x").unwrap();
        let device = worker.cuda().unwrap().clone();
        let semaphore = import_semaphore(&device, exported, SemaphoreKind::Timeline);
        let foreign_stream = device.new_stream().unwrap();
        while !matches!(reader.newest().unwrap(), Some(turn) if turn.frame() == 0) {}
        // SAFETY: it is signaled below, and destroyed after that.
        unsafe { cuda_import::wait_one(&foreign_stream, &semaphore, 1) }.unwrap();
        let turn = reader.newest().unwrap().unwrap();
        let Read::Cuda(cuda) = turn.work() else { panic!("it computes with CUDA") };
        drop(cuda.resources.device_ptr(&foreign_stream));
        std::mem::forget(turn);
        see.send(()).unwrap();
        while reader.newest().unwrap().unwrap().frame() == 0 {}
        let value = values.recv().unwrap();
        assert_eq!(double.value(exports.computed.1), 0, "the slot goes back while it is read");
        double.signal(gate, 1);
        double.wait_until("the slot to go back", |double| double.value(exports.computed.1) == value);
        drop((reader, worker));
        renderer.join().unwrap();
        drop((foreign_stream, semaphore));
    });
    drop(owned);
    assert_clean(double);
}

/// Each turn can reuse the events of the previous one, so any number of turns can use other
/// streams.
#[test]
fn turns_reuse_the_events_of_other_streams() {
    let Some(double) = Double::in_child("reads::turns_reuse_the_events_of_other_streams") else { return };
    let owned = Exports::new(&double);
    let folder = tempfile::tempdir().unwrap();
    let listener = &Listener::bind(folder.path().join("s")).unwrap();
    let (exports, double) = (&owned, &double);
    let events = || double.live().iter().filter(|object| object.kind() == "event").count();
    std::thread::scope(|scope| {
        let renderer = scope.spawn(move || {
            let mut renderer = offer(listener, exports);
            publish(&mut renderer, double, exports, 0, 1);
            assert_eq!(renderer.receive(), Message::Close { exchange: 1 });
        });
        let worker = connect(listener.path()).unwrap();
        let mut reader = worker.latest_reader::<Buffer<f32>>("x").unwrap();
        let foreign_stream = worker.cuda().unwrap().new_stream().unwrap();
        assert!(reader.wait_for_newer(LIMIT).unwrap());
        let before = events();
        for nth in 0..1100 {
            let turn = reader.newest().unwrap().unwrap();
            let Read::Cuda(cuda) = turn.work() else { panic!("it computes with CUDA") };
            assert_ne!(cuda.resources.device_ptr(&foreign_stream).0, 0, "turn {nth}");
            turn.finish().unwrap();
        }
        // For the end of the use, and for the wait for the home stream.
        assert_eq!(events(), before + 2);
        drop((reader, foreign_stream, worker));
        renderer.join().unwrap();
    });
    drop(owned);
    assert_clean(double);
}

/// A forked child gets errors instead of driver calls, and the parent goes on with its turn.
#[test]
fn a_forked_child_ends_no_turn_of_its_parent() {
    let Some(double) = Double::in_child("reads::a_forked_child_ends_no_turn_of_its_parent") else { return };
    let owned = Exports::new(&double);
    let folder = tempfile::tempdir().unwrap();
    let listener = &Listener::bind(folder.path().join("s")).unwrap();
    let (exports, double) = (&owned, &double);
    std::thread::scope(|scope| {
        let renderer = scope.spawn(move || {
            let mut renderer = offer(listener, exports);
            publish(&mut renderer, double, exports, 0, 1);
            assert_eq!(renderer.receive(), Message::Close { exchange: 1 });
        });
        let worker = connect(listener.path()).unwrap();
        let mut reader = worker.latest_reader::<Buffer<f32>>("x").unwrap();
        assert!(reader.wait_for_newer(LIMIT).unwrap());
        let mut turn = reader.newest().unwrap();
        is_refused_in_a_child(double, || turn.take().unwrap().finish());
        turn.unwrap().finish().unwrap();
        is_refused_in_a_child(double, || reader.newest().map(drop));
        drop((reader, worker));
        renderer.join().unwrap();
    });
    drop(owned);
    assert_clean(double);
}

/// Whichever driver call fails, work on a frame waits for the renderer's signal, and the slot of
/// the previous frame is returned.
#[test]
fn no_failure_delivers_a_frame_before_the_renderers_signal() {
    let Some(double) = Double::in_child("reads::no_failure_delivers_a_frame_before_the_renderers_signal") else {
        return;
    };
    // One context for all rounds.
    let device = device();
    let failed = (1..100).take_while(|nth| second_frame(&double, *nth)).count();
    assert!(failed >= 3, "too few calls to fail: {failed}");
    drop(device);
    assert_clean(&double);
}

/// Takes a second frame, which the renderer has announced but not finished, while the `nth` call
/// fails. Returns `false` if there were fewer calls.
fn second_frame(double: &Double, nth: u64) -> bool {
    let exports = &Exports::new(double);
    let folder = tempfile::tempdir().unwrap();
    let listener = &Listener::bind(folder.path().join("s")).unwrap();
    let (see, seen) = channel();
    std::thread::scope(|scope| {
        let renderer = scope.spawn(move || {
            let mut renderer = offer(listener, exports);
            publish(&mut renderer, double, exports, 0, 1);
            seen.recv().unwrap();
            renderer.send(Message::Publish { exchange: 1, slot: 1, frame: 1, value: 2 });
            let Message::Free { slot: 0, value, .. } = renderer.receive() else { panic!() };
            assert_eq!(renderer.receive(), Message::Close { exchange: 1 });
            assert!(double.value(exports.computed.1) >= value, "the slot goes back, and is never done with");
        });
        let worker = connect(listener.path()).unwrap();
        let mut reader = worker.latest_reader::<Buffer<f32>>("x").unwrap();
        while !matches!(reader.newest().unwrap(), Some(turn) if turn.frame() == 0) {}
        see.send(()).unwrap();
        double.fail_nth(nth, INVALID_VALUE, false);
        let failed =
            reader.wait_for_newer(LIMIT).inspect(|newer| assert!(newer, "the second frame does not come")).err();
        double.disarm();
        let stream = reader.stream().unwrap().clone();
        let turn = reader.newest().unwrap().unwrap();
        assert_eq!(turn.frame(), 1, "after {failed:?}");
        assert!(!query(&stream).unwrap(), "work with the frame does not wait for it, after {failed:?}");
        double.signal(exports.rendered.1, 2);
        double.wait_until("the frame to be there", |_| query(&stream).unwrap());
        turn.finish().unwrap();
        drop((reader, worker));
        renderer.join().unwrap();
        failed.is_some()
    })
}

/// `CUDA_ERROR_INVALID_VALUE`
const INVALID_VALUE: u32 = 1;

/// Offers the exchange "x", which the worker reads, and waits until the worker has accepted it.
fn offer(listener: &Listener, exports: &Exports) -> Renderer {
    let gpu = report().unwrap().devices[0].uuid;
    let mut renderer = Renderer::offer_in(Direction::RendererWrites, listener, gpu, false, &exports.all());
    assert_eq!(renderer.receive(), Message::Ready { exchange: 1 });
    renderer
}

/// Draws a frame in the slot with the frame's number.
fn publish(renderer: &mut Renderer, double: &Double, exports: &Exports, slot: u32, value: u64) {
    double.signal(exports.rendered.1, value);
    renderer.send(Message::Publish { exchange: 1, slot, frame: slot.into(), value });
}
