//! Test of reading frames of a renderer in step.

use std::sync::atomic::{AtomicBool, Ordering};

use bridge_ipc::Backend;
use bridge_worker::{Worker, WorkerInfo};

use super::*;

/// Torn frames do not extend the caller's wait.
#[test]
fn torn_frames_do_not_extend_the_wait() {
    let (_folder, listener) = listen();
    let returned = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let mut renderer = Renderer::accept_with(&listener, true);
            renderer.offer_in(Direction::RendererWrites, 1, "x", &[floats(4)]);
            assert_eq!(renderer.receive(), Message::Ready { exchange: 1 });
            let start = Instant::now();
            for frame in 0.. {
                if returned.load(Ordering::SeqCst) {
                    break;
                }
                assert!(start.elapsed() < LIMIT, "after {frame} torn frames");
                renderer.send(Message::Publish { exchange: 1, slot: 0, frame, value: frame + 1 });
                renderer.send(Message::Torn { exchange: 1, slot: 0, frame });
                match renderer.receive() {
                    // The worker's wait has ended meanwhile.
                    Message::Close { exchange: 1 } => return renderer.send(Message::Close { exchange: 1 }),
                    message => assert_eq!(message, Message::Free { exchange: 1, slot: 0, value: 0 }),
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            renderer.send(Message::Close { exchange: 1 });
            while renderer.receive() != (Message::Close { exchange: 1 }) {}
        });
        let info = WorkerInfo { backend: Some(Backend::Host), timeout: LIMIT, trust: true, ..Default::default() };
        let worker = Worker::connect_with(listener.path(), &info).unwrap();
        let mut reader = worker.exchange_reader::<Buffer<f32>>("x").unwrap();
        // Occasionally a frame is returned before its Torn message has arrived.
        while let Some(turn) = reader.next(Duration::from_millis(100)).unwrap() {
            turn.finish().unwrap();
        }
        returned.store(true, Ordering::SeqCst);
        drop(reader);
        thread.join().unwrap();
    });
}
