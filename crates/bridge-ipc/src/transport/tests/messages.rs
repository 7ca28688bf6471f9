//! Messages that end a connection, and their descriptors.

use super::*;

#[test]
fn what_is_no_message_ends_the_connection_and_says_why() {
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
    // Of a version to come, with a role that is not defined so far.
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

#[test]
fn descriptors_of_refused_messages_are_closed() {
    let _alone = alone();
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, sendmsg};
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::bind(folder.path().join("s")).unwrap();
    let (extra, _writer) = std::io::pipe().unwrap();
    let extra = OwnedFd::from(extra);
    let before = open_descriptors();
    // With a message that has none, two and eight with one that has one, and with bytes that are no
    // message.
    for (bytes, count) in [
        (Message::Hello(hello(Role::Worker)).encode().unwrap(), 1),
        (resource(64).encode().unwrap(), 2),
        (resource(64).encode().unwrap(), 8),
        (vec![1, 2, 3], 1),
    ] {
        let (socket, mut renderer) = raw(&listener);
        renderer.send(&Message::Hello(hello(Role::Renderer)), None, LIMIT).unwrap();
        let fds = vec![extra.as_fd(); count];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
        sendmsg(&socket, &[std::io::IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL).unwrap();
        let error = renderer.receive(LIMIT).unwrap_err();
        assert!(!matches!(error, Error::Timeout { .. } | Error::Closed { .. }), "{error}");
        drop((socket, renderer));
        assert_eq!(open_descriptors(), before, "{count} with {} bytes", bytes.len());
    }
    // Never received at all.
    let (mut renderer, worker) = greeted(&listener);
    renderer.send(&offer(), None, LIMIT).unwrap();
    renderer.send(&resource(64), Some(extra.as_fd()), LIMIT).unwrap();
    drop((worker, renderer));
    assert_eq!(open_descriptors(), before);
}

/// The renderer is sent no descriptors: one that comes is not installed in its process, whose
/// threads would have to close it.
#[test]
fn a_renderer_is_given_no_descriptors() {
    let _alone = alone();
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, sendmsg};
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::bind(folder.path().join("s")).unwrap();
    let (socket, mut renderer) = raw(&listener);
    renderer.send(&Message::Hello(hello(Role::Renderer)), None, LIMIT).unwrap();
    let file = SharedMemory::new("m", 64).unwrap();
    let fds = [file.handle().as_fd()];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
    let bytes = Message::Hello(hello(Role::Worker)).encode().unwrap();
    sendmsg(&socket, &[std::io::IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL).unwrap();
    let error = renderer.receive(LIMIT).unwrap_err();
    assert!(matches!(error, Error::Truncated { what: "descriptors", .. }), "{error}");
    assert!(renderer.has_ended());
}
