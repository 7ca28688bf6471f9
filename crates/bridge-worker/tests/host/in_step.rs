//! Tests of a renderer that closes an exchange in step, or its socket, while the worker has a turn.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::channel;

use bridge_ipc::Backend;
use bridge_worker::{Worker, WorkerInfo};

use super::*;

/// A frame that was announced, and is finished or torn after the renderer's Close, results in
/// `Error::Closed` and not in a protocol violation.
#[test]
fn frame_that_ends_after_a_close_is_reported_as_closed() {
    for is_torn in [false, true] {
        let (_folder, listener) = listen();
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let mut renderer = Renderer::accept_with(&listener, true);
                for (exchange, name) in [(1, "x"), (2, "y")] {
                    renderer.offer(exchange, name, &[floats(4)]);
                    assert_eq!(renderer.receive(), Message::Ready { exchange });
                }
                renderer.send(Message::Free { exchange: 1, slot: 0, value: 0 });
                assert!(matches!(renderer.receive(), Message::Publish { exchange: 1, .. }));
                renderer.send(Message::Close { exchange: 1 });
                renderer.send(Message::Free { exchange: 2, slot: 0, value: 0 });
                for exchange in [1, 2] {
                    assert_eq!(renderer.receive(), Message::Close { exchange });
                    renderer.answer(Message::Close { exchange });
                }
            });
            let info = WorkerInfo { backend: Some(Backend::Host), timeout: LIMIT, trust: true, ..Default::default() };
            let worker = Worker::connect_with(listener.path(), &info).unwrap();
            let mut first = worker.exchange::<Buffer<f32>>("x").unwrap();
            let mut second = worker.exchange::<Buffer<f32>>("y").unwrap();
            let mut turn = first.begin().unwrap();
            turn.announce().unwrap();
            // A waiting call reads the messages of all exchanges, and the Close arrives before this
            // slot.
            second.begin().unwrap().skip().unwrap();
            let error = if is_torn { turn.skip() } else { turn.finish() }.unwrap_err();
            assert!(matches!(error, Error::Closed { .. }), "{error:?}");
            drop((first, second));
            thread.join().unwrap();
        });
    }
}

/// Dropping a turn does not wait for the end of the process of a renderer that has closed its
/// socket without a message and keeps running.
#[test]
fn a_turn_that_is_dropped_waits_for_no_process() {
    for direction in [Direction::WorkerWrites, Direction::RendererWrites] {
        let (_folder, listener) = listen();
        let ((end, ends), (ended, has_ended)) = (channel::<()>(), channel());
        let listener = &listener;
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut renderer = Renderer::accept_with(listener, true);
                renderer.offer_in(direction, 1, "x", &[floats(4)]);
                assert_eq!(renderer.receive(), Message::Ready { exchange: 1 });
                renderer.send(match direction {
                    Direction::WorkerWrites => Message::Free { exchange: 1, slot: 0, value: 0 },
                    Direction::RendererWrites => Message::Publish { exchange: 1, slot: 0, frame: 0, value: 1 },
                });
                ends.recv().unwrap();
                let socket = UnixStream::from(renderer.connection.as_fd().try_clone_to_owned().unwrap());
                socket.shutdown(std::net::Shutdown::Both).unwrap();
                ended.send(renderer).unwrap();
            });
            let info = WorkerInfo { backend: Some(Backend::Host), timeout: LIMIT, trust: true, ..Default::default() };
            let worker = Worker::connect_with(listener.path(), &info).unwrap();
            let start;
            if direction == Direction::WorkerWrites {
                let mut exchange = worker.exchange::<Buffer<f32>>("x").unwrap();
                let mut turn = exchange.begin().unwrap();
                turn.announce().unwrap();
                end.send(()).unwrap();
                let _renderer = has_ended.recv().unwrap();
                start = Instant::now();
                drop(turn);
            } else {
                let mut exchange = worker.exchange_reader::<Buffer<f32>>("x").unwrap();
                let turn = exchange.next(LIMIT).unwrap().unwrap();
                end.send(()).unwrap();
                let _renderer = has_ended.recv().unwrap();
                start = Instant::now();
                drop(turn);
            }
            assert!(start.elapsed() < LIMIT / 2, "{direction:?}: {:?}", start.elapsed());
        });
    }
}

/// A turn that was announced and leaked is torn by the next one, or with the exchange: its frame
/// number is not used again, and the renderer does not wait for it.
#[test]
fn a_leaked_turn_that_was_announced_is_torn() {
    let (_folder, listener) = listen();
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let mut renderer = Renderer::accept_with(&listener, true);
            renderer.offer(1, "x", &[floats(4)]);
            assert_eq!(renderer.receive(), Message::Ready { exchange: 1 });
            (0..2).for_each(|slot| renderer.send(Message::Free { exchange: 1, slot, value: 0 }));
            let publish = |slot, frame| Message::Publish { exchange: 1, slot, frame, value: frame + 1 };
            let done = |slot, frame| Message::Done { exchange: 1, slot, frame };
            assert_eq!(renderer.receive(), publish(0, 0));
            assert_eq!(renderer.receive(), Message::Torn { exchange: 1, slot: 0, frame: 0 });
            assert_eq!(renderer.receive(), done(0, 0));
            renderer.send(Message::Free { exchange: 1, slot: 0, value: 0 });
            assert_eq!([renderer.receive(), renderer.receive()], [publish(1, 1), done(1, 1)]);
            assert_eq!(renderer.receive(), publish(0, 2));
            assert_eq!(renderer.receive(), Message::Torn { exchange: 1, slot: 0, frame: 2 });
            assert_eq!(renderer.receive(), done(0, 2));
            assert_eq!(renderer.receive(), Message::Close { exchange: 1 });
            renderer.answer(Message::Close { exchange: 1 });
        });
        let info = WorkerInfo { backend: Some(Backend::Host), timeout: LIMIT, trust: true, ..Default::default() };
        let worker = Worker::connect_with(listener.path(), &info).unwrap();
        let mut exchange = worker.exchange::<Buffer<f32>>("x").unwrap();
        let mut turn = exchange.begin().unwrap();
        turn.announce().unwrap();
        std::mem::forget(turn);
        let turn = exchange.begin().unwrap();
        assert_eq!(turn.frame(), 1);
        turn.finish().unwrap();
        let mut turn = exchange.begin().unwrap();
        turn.announce().unwrap();
        std::mem::forget(turn);
        drop(exchange);
        thread.join().unwrap();
    });
}
