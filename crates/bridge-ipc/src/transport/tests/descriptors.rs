//! Tests of expected and unexpected descriptors in messages.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;

use rustix::io::Errno;
use rustix::process::{Resource as Limited, Rlimit, getrlimit, setrlimit};

use super::*;

#[test]
fn descriptors_of_refused_messages_are_closed() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::bind(folder.path().join("s")).unwrap();
    as_an_older_kernel(&listener);
    let (extra, _writer) = std::io::pipe().unwrap();
    let extra = OwnedFd::from(extra);
    let before = open_descriptors();
    // One descriptor with a message that has none, two and eight with a message that has one, and
    // one with bytes that are not a message.
    for (bytes, count) in [
        (Message::Hello(hello(Role::Worker)).encode().unwrap(), 1),
        (resource(64).encode().unwrap(), 2),
        (resource(64).encode().unwrap(), 8),
        (vec![1, 2, 3], 1),
    ] {
        let (socket, mut renderer) = raw(&listener);
        renderer.send(&Message::Hello(hello(Role::Renderer)), None, LIMIT).unwrap();
        send_raw_with(&socket, &bytes, &vec![extra.as_fd(); count]).unwrap();
        let error = renderer.receive(LIMIT).unwrap_err();
        assert!(!matches!(error, Error::Timeout { .. } | Error::Closed { .. }), "{error}");
        drop((socket, renderer));
        until_open(before);
    }
    // A descriptor that is never received.
    let (mut renderer, worker) = greeted(&listener);
    renderer.send(&offer(), None, LIMIT).unwrap();
    renderer.send(&resource(64), Some(extra.as_fd()), LIMIT).unwrap();
    drop((worker, renderer));
    until_open(before);
}

/// Waits until `before` descriptors are open: a separate thread closes a socket that may contain
/// descriptors.
fn until_open(before: usize) {
    let start = Instant::now();
    while open_descriptors() != before {
        assert!(start.elapsed() < LIMIT, "{} are open, and {before} were", open_descriptors());
        std::thread::yield_now();
    }
}

/// A descriptor that a worker sends is not installed in the renderer's process, whose threads would
/// have to close it.
#[test]
fn renderer_receives_no_descriptors() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::bind(folder.path().join("s")).unwrap();
    as_an_older_kernel(&listener);
    let (socket, mut renderer) = raw(&listener);
    renderer.send(&Message::Hello(hello(Role::Renderer)), None, LIMIT).unwrap();
    let file = SharedMemory::new("m", 64).unwrap();
    let bytes = Message::Hello(hello(Role::Worker)).encode().unwrap();
    send_raw_with(&socket, &bytes, &[file.handle().as_fd()]).unwrap();
    let error = renderer.receive(LIMIT).unwrap_err();
    assert!(matches!(error, Error::Truncated { what: "descriptors", .. }), "{error}");
    assert!(renderer.has_ended());
}

/// A worker that closes its socket with unread messages causes a reset, which is reported before
/// the worker's last message. That message is still inspected before it is received.
#[test]
fn descriptor_after_a_reset_is_not_received() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::bind(folder.path().join("s")).unwrap();
    as_an_older_kernel(&listener);
    let (pipe, _writer) = std::io::pipe().unwrap();
    let pipe = OwnedFd::from(pipe);
    let (socket, mut renderer) = raw(&listener);
    renderer.send(&Message::Hello(hello(Role::Renderer)), None, LIMIT).unwrap();
    let bytes = Message::Hello(hello(Role::Worker)).encode().unwrap();
    send_raw_with(&socket, &bytes, &[pipe.as_fd()]).unwrap();
    drop(socket);
    let error = renderer.try_receive().unwrap_err();
    assert!(matches!(error, Error::Truncated { what: "descriptors", .. }), "{error}");
    // The message is still in the socket.
    assert_eq!(peek(&*renderer.socket()), Next::WithDescriptors);
}

/// The time for which the closing of a socket blocks where that must not delay a call, in seconds.
const LINGERS: u64 = 60;

/// Creates a socket whose close blocks for this many seconds, and its peer.
fn lingering(seconds: u64) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (peer, _) = listener.accept().unwrap();
    rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::from_secs(seconds))).unwrap();
    socket.set_nonblocking(true).unwrap();
    while socket.write(&[0; 1 << 16]).is_ok() {}
    socket.set_nonblocking(false).unwrap();
    (socket, peer)
}

/// A descriptor whose close blocks does not delay any call of the renderer, whether its message is
/// received, left in the connection, or left in a connection that was not accepted.
#[test]
fn descriptors_of_a_worker_never_block_the_renderer() {
    let _alone = alone();
    // Negative control: closing the socket directly blocks.
    let (socket, peer) = lingering(3);
    let start = Instant::now();
    drop(socket);
    assert!(start.elapsed() >= Duration::from_secs(3));
    drop(peer);
    for older in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let listener = Listener::bind(folder.path().join("s")).unwrap();
        if older {
            as_an_older_kernel(&listener);
        }
        let mut peers = Vec::new();
        let mut send = |bytes: &[u8]| {
            let socket = new_socket().unwrap();
            rustix::net::connect(&socket, &rustix::net::SocketAddrUnix::new(listener.path()).unwrap()).unwrap();
            let (lingering, peer) = lingering(LINGERS);
            let sent = send_raw_with(&socket, bytes, &[lingering.as_fd()]);
            assert!(sent.is_ok() || !older);
            if sent.is_err() {
                // The kernel has refused it, so the test closes it on another thread.
                close_elsewhere(lingering);
            }
            peers.push(peer);
            socket
        };
        let hello_of_worker = Message::Hello(hello(Role::Worker)).encode().unwrap();
        let received = send(&hello_of_worker);
        let mut connection = listener.accept(LIMIT).unwrap().unwrap();
        let left = send(&hello_of_worker);
        let unread = listener.accept(LIMIT).unwrap().unwrap();
        let unmet = send(&hello_of_worker);
        let start = Instant::now();
        let _ = connection.try_receive();
        drop(connection);
        drop(unread);
        drop(listener);
        assert!(start.elapsed() < Duration::from_secs(LINGERS) / 2, "{:?}", start.elapsed());
        drop((received, left, unmet));
    }
}

/// A waiter that outlives its connection keeps the socket open, with the descriptors in it.
#[test]
fn dropping_a_waiter_last_closes_no_descriptor_on_the_calling_thread() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::bind(folder.path().join("s")).unwrap();
    as_an_older_kernel(&listener);
    let (socket, renderer) = raw(&listener);
    let (lingering, _peer) = lingering(LINGERS);
    send_raw_with(&socket, &[0], &[lingering.as_fd()]).unwrap();
    drop(lingering);
    let waiter = renderer.waiter().unwrap();
    drop(renderer);
    while is_closing() {
        std::thread::yield_now();
    }
    let start = Instant::now();
    drop(waiter);
    assert!(start.elapsed() < Duration::from_secs(LINGERS) / 2, "{:?}", start.elapsed());
}

/// Set for a worker that has no room for descriptors: the path at which the renderer listens.
const FULL: &str = "BRIDGE_IPC_TEST_FULL";

/// A process without room for a descriptor reports that, and not a protocol violation by its peer.
#[test]
fn worker_reports_lack_of_room_for_a_descriptor() {
    let (name, full) = ("transport::tests::descriptors::worker_reports_lack_of_room_for_a_descriptor", FULL);
    if let Some(path) = std::env::var_os(full) {
        let mut worker = Connection::connect(PathBuf::from(path), &ConnectInfo::default()).unwrap();
        worker.send(&Message::Hello(hello(Role::Worker)), None, LIMIT).unwrap();
        assert!(matches!(worker.receive(LIMIT).unwrap().message, Message::Offer(_)));
        let before = getrlimit(Limited::Nofile);
        setrlimit(Limited::Nofile, Rlimit { current: Some(3), ..before }).unwrap();
        let error = worker.receive(LIMIT).unwrap_err();
        let Error::System { source, .. } = &error else { panic!("{error}") };
        assert_eq!(source.raw_os_error(), Some(Errno::MFILE.raw_os_error()));
        assert!(error.to_string().contains("ulimit -n"), "{error}");
        setrlimit(Limited::Nofile, before).unwrap();
        assert!(worker.has_ended());
        return;
    }
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::bind(folder.path().join("s")).unwrap();
    let worker = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .env(full, listener.path())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let mut renderer = listener.accept(LIMIT).unwrap().unwrap();
    renderer.handshake(&hello(Role::Renderer), LIMIT).unwrap();
    renderer.send(&offer(), None, LIMIT).unwrap();
    let memory = SharedMemory::new("m", 64).unwrap();
    renderer.send(&resource(64), Some(memory.handle().as_fd()), LIMIT).unwrap();
    let told = renderer.receive(LIMIT).map(|received| received.message);
    assert!(matches!(&told, Ok(Message::Bye { code: Code::Failure, text }) if text.contains("open files")), "{told:?}");
    assert!(worker.wait_with_output().unwrap().status.success());
}
