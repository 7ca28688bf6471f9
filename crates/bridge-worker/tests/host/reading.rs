//! Tests of reading frames of the renderer.

use super::*;

#[test]
fn newest_frame_is_read_and_the_previous_slot_returned() {
    let waited = std::sync::Barrier::new(2);
    let (_folder, listener) = listen();
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let mut renderer = Renderer::accept(&listener);
            let memory = renderer.offer_in(Direction::RendererWrites, 1, "x", &[floats(4), picture()]);
            assert_eq!(renderer.receive(), Message::Ready { exchange: 1 });
            let publish = |renderer: &mut Renderer, slot: u32, frame: u64| {
                assert!(memory[slot as usize][0].write(16, &(frame as f32).to_ne_bytes()));
                renderer.send(Message::Publish { exchange: 1, slot, frame, value: frame + 1 });
            };
            waited.wait();
            publish(&mut renderer, 0, 0);
            publish(&mut renderer, 1, 1);
            waited.wait();
            // The first frame was skipped; the second is held until there is a newer one.
            assert_eq!(renderer.receive(), Message::Free { exchange: 1, slot: 0, value: 0 });
            waited.wait();
            publish(&mut renderer, 0, 2);
            assert_eq!(renderer.receive(), Message::Free { exchange: 1, slot: 1, value: 0 });
            publish(&mut renderer, 1, 3);
            renderer.send(Message::Torn { exchange: 1, slot: 1, frame: 3 });
            waited.wait();
            renderer.send(Message::Close { exchange: 1 });
            while renderer.receive() != (Message::Close { exchange: 1 }) {}
        });
        let worker = connect(listener.path(), LIMIT).unwrap();
        let mut reader = worker.latest_reader::<(Buffer<f32>, Image<[u8; 4]>)>("x").unwrap();
        assert!(reader.newest().unwrap().is_none(), "before the first");
        waited.wait();
        waited.wait();
        for _ in 0..2 {
            let turn = reader.newest().unwrap().unwrap();
            let Read::Host(host) = turn.work() else { panic!() };
            let mut first = [0.0];
            host.resources.0.read_into(0, &mut first).unwrap();
            assert_eq!((turn.frame(), turn.slot(), first[0]), (1, 1, 1.0), "the same again if there is none newer");
            turn.finish().unwrap();
        }
        waited.wait();
        assert!(reader.wait_for_newer(LIMIT).unwrap());
        // The next frame is read together with its Torn message.
        waited.wait();
        let error = loop {
            match reader.newest() {
                Ok(turn) => assert_eq!(turn.unwrap().frame(), 2, "a torn frame is not taken"),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, Error::Closed { .. }), "{error}");
        drop(reader);
        thread.join().unwrap();
    });
}

/// A renderer whose frames are all torn gets their slots back.
#[test]
fn slots_of_torn_frames_are_returned() {
    let (_folder, listener) = listen();
    let said = std::sync::Barrier::new(2);
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let mut renderer = Renderer::accept(&listener);
            renderer.offer_in(Direction::RendererWrites, 1, "x", &[floats(4)]);
            assert_eq!(renderer.receive(), Message::Ready { exchange: 1 });
            for slot in 0..2 {
                let frame = u64::from(slot);
                renderer.send(Message::Publish { exchange: 1, slot, frame, value: frame + 1 });
                renderer.send(Message::Torn { exchange: 1, slot, frame });
            }
            said.wait();
            for slot in 0..2 {
                assert_eq!(renderer.receive(), Message::Free { exchange: 1, slot, value: 0 });
            }
            renderer.send(Message::Close { exchange: 1 });
            while renderer.receive() != (Message::Close { exchange: 1 }) {}
        });
        let worker = connect(listener.path(), LIMIT).unwrap();
        let mut reader = worker.latest_reader::<Buffer<f32>>("x").unwrap();
        said.wait();
        let start = Instant::now();
        while let Ok(turn) = reader.newest() {
            assert!(turn.is_none(), "a torn frame is not taken");
            assert!(start.elapsed() < LIMIT, "the renderer does not end it");
        }
        drop(reader);
        thread.join().unwrap();
    });
}
