//! Tests of messages that end a connection.

use super::*;

/// The last message of a process that ends at the limit of a wait is not lost.
#[test]
fn message_that_arrives_with_the_end_of_a_wait_is_received() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::bind(folder.path().join("s")).unwrap();
    for dead in [true, false] {
        let (mut renderer, mut worker) = greeted(&listener);
        worker.close(Code::Failure, "x");
        let bye =
            renderer.receive_last(Readiness { peer_exited: dead, readable: true }, Duration::ZERO).unwrap().message;
        assert_eq!(bye, Message::Bye { code: Code::Failure, text: "x".into() });
        let (mut renderer, _worker) = greeted(&listener);
        let ended =
            renderer.receive_last(Readiness { peer_exited: dead, readable: false }, Duration::ZERO).unwrap_err();
        assert_eq!(matches!(ended, Error::Closed { .. }), dead, "{ended}");
        assert_eq!(matches!(ended, Error::Timeout { .. }), !dead, "{ended}");
    }
}

#[test]
fn malformed_message_ends_the_connection_with_a_reason() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::bind(folder.path().join("s")).unwrap();
    let hello = Message::Hello(hello(Role::Worker)).encode().unwrap();
    let with = |place: usize, byte: u8| {
        let mut bytes = hello.clone();
        bytes[place] = byte;
        bytes
    };
    type Expected = fn(&Error) -> bool;
    // A future version, with a role that is not defined yet.
    let mut newer = with(20, 9);
    newer[28] = 3;
    let cases: [(Vec<u8>, Expected); 7] = [
        (newer, |error| matches!(error, Error::Version { oldest: 9, .. })),
        (vec![0; 3], |error| matches!(error, Error::Malformed { .. })),
        (vec![0xff; 208], |error| matches!(error, Error::Malformed { .. })),
        (vec![0; 4096], |error| matches!(error, Error::Truncated { what: "bytes", .. })),
        (with(27, 0x7f), |error| matches!(error, Error::PidMismatch { .. })),
        (with(20, 9), |error| matches!(error, Error::Version { oldest: 9, .. })),
        (offer().encode().unwrap(), |error| matches!(error, Error::Violation { .. })),
    ];
    for (bytes, expected) in cases {
        let (socket, mut renderer) = raw(&listener);
        let greeting = Message::Hello(Hello { host: true, ..Hello::new(Role::Renderer, "r") });
        renderer.send(&greeting, None, LIMIT).unwrap();
        send_raw(&socket, &bytes);
        let error = renderer.receive(LIMIT).unwrap_err();
        assert!(expected(&error), "{error}");
        assert!(matches!(renderer.try_receive(), Err(Error::Closed { .. })));
        let mut said = [0; 300];
        let count = || rustix::net::recv(&socket, &mut said[..], rustix::net::RecvFlags::empty()).unwrap().1;
        let mut count = count;
        assert_eq!(count(), 128, "the renderer's Hello");
        let len = count();
        assert!(matches!(Message::decode(&said[..len]), Ok(Message::Bye { .. })));
    }
}

/// A message that could not be sent for lack of room does not change the state, and can be sent
/// later.
#[test]
fn message_without_room_can_be_sent_again() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::bind(folder.path().join("s")).unwrap();
    let (mut renderer, mut worker) = greeted(&listener);
    let Message::Offer(offer) = offer() else { panic!() };
    renderer.send(&Message::Offer(Offer { slots: 64, resources: 16, ..offer }), None, LIMIT).unwrap();
    let memory = SharedMemory::new("m", 64).unwrap();
    let Message::Resource(first) = resource(64) else { panic!() };
    let place = |number: u32| Message::Resource(Resource { slot: number / 16, index: number % 16, ..first });
    let mut send = |number| renderer.try_send(&place(number), Some(memory.handle().as_fd()), Duration::ZERO).unwrap();
    let mut said = (0..1024).find(|number| !send(*number)).unwrap();
    assert!(!send(said), "there is room again");
    assert!(matches!(worker.receive(LIMIT).unwrap().message, Message::Offer(_)));
    for heard in 0..said + 10 {
        assert_eq!(worker.receive(LIMIT).unwrap().message, place(heard));
        while said < heard + 20 && send(said) {
            said += 1;
        }
    }
}
