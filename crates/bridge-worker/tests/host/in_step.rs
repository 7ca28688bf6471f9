//! Test of a renderer that closes an exchange in step while a frame of it is written.

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
