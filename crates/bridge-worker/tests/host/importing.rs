//! Tests of memory files that a worker cannot use as slots.

use std::os::fd::AsFd;

use bridge_ipc::{Handle, Offer, Resource, SharedMemory, Uuid};

use super::*;

/// A memory file that breaks the rules is not a protocol violation: only its exchange is refused,
/// with the code for resources, and the connection stays usable.
#[test]
fn a_file_of_another_size_is_refused_as_a_resource() {
    both(
        |listener| {
            let mut renderer = Renderer::accept(listener);
            let (direction, name) = (Direction::WorkerWrites, "x".to_owned());
            let (slots, resources, writer_in_flight, reader_in_flight, trust) = (1, 1, 1, 1, false);
            renderer.send(Message::Offer(Offer {
                exchange: 1,
                direction,
                slots,
                resources,
                writer_in_flight,
                reader_in_flight,
                trust,
                name,
            }));
            let resource = Message::Resource(Resource {
                exchange: 1,
                slot: 0,
                index: 0,
                kind: floats(4),
                handle: Handle::Memfd,
                dedicated: false,
                device_uuid: Uuid::nil(),
                allocation_size: 64,
                offset: 0,
            });
            let memory = SharedMemory::new("x", 32).unwrap();
            renderer.connection.send(&resource, Some(memory.handle().as_fd()), LIMIT).unwrap();
            let refused = renderer.receive();
            let Message::Refused { exchange: Some(1), code: Code::Resource, text } = refused else {
                panic!("{refused:?}")
            };
            assert!(text.contains("32 bytes"), "{text}");
            renderer.offer(2, "x", &[floats(4)]);
            assert_eq!(renderer.receive(), Message::Ready { exchange: 2 });
            renderer.receive();
        },
        |worker| {
            let error = worker.latest::<Buffer<f32>>("x").unwrap_err();
            assert!(matches!(error, Error::Connection(bridge_ipc::Error::Memory { .. })), "{error}");
            worker.latest::<Buffer<f32>>("x").unwrap();
        },
    );
}
