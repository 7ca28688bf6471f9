//! Tests of the end of a connection, and of a process.

use super::*;

#[test]
fn closed_socket_is_not_reported_as_process_end() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::bind(folder.path().join("s")).unwrap();
    let (mut renderer, mut worker) = greeted(&listener);
    worker.close(Code::Failure, "out of ideas");
    let Ok(received) = renderer.receive(LIMIT) else { panic!() };
    assert_eq!(received.message, Message::Bye { code: Code::Failure, text: "out of ideas".into() });
    let told = renderer.receive(LIMIT).unwrap_err().to_string();
    assert!(told.contains("Failure, out of ideas"), "{told}");
    assert!(!renderer.peer().has_exited() && !renderer.wait(Duration::ZERO).unwrap().peer_exited);
}

#[test]
fn messages_of_a_peer_are_read_even_if_it_does_not_receive() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::bind(folder.path().join("s")).unwrap();
    let (mut renderer, mut worker) = greeted(&listener);
    // Unread when the worker closes its end: the system reports a reset to the renderer first.
    renderer.send(&offer(), None, LIMIT).unwrap();
    worker.close(Code::Done, "enough");
    drop(worker);
    assert_eq!(renderer.receive(LIMIT).unwrap().message, Message::Bye { code: Code::Done, text: "enough".into() });
}

#[test]
fn a_silent_peer_is_waited_for_with_a_limit() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::bind(folder.path().join("s")).unwrap();
    assert!(listener.accept(Duration::from_millis(10)).unwrap().is_none());
    let info = ConnectInfo { timeout: Duration::from_millis(50), ..Default::default() };
    assert!(matches!(Connection::connect(listener.path(), &info), Err(Error::Timeout { .. })));
}

/// If a process ends while a child still holds its socket, only the pidfd reports the end.
#[test]
fn process_end_is_noticed_even_if_the_socket_stays_open() {
    const PEER: &str = "BRIDGE_IPC_TEST_PEER";
    if let Some(path) = std::env::var_os(PEER) {
        let socket = new_socket().unwrap();
        rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::empty()).unwrap();
        // Started before connecting, so that the child has the socket once the test sees the
        // connection. It ends when the test closes its end of the pipe.
        let mut heir = Command::new("cat").spawn().unwrap();
        rustix::net::connect(&socket, &rustix::net::SocketAddrUnix::new(Path::new(&path)).unwrap()).unwrap();
        heir.wait().unwrap();
        return;
    }
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::bind(folder.path().join("s")).unwrap();
    let test = "transport::tests::peers::process_end_is_noticed_even_if_the_socket_stays_open";
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env(PEER, listener.path())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    // Taken, since `wait` below would close it.
    let heir = child.stdin.take();
    let mut connection = listener.accept(LIMIT).unwrap().unwrap();
    assert_eq!(connection.peer().pid(), child.id());
    assert!(!connection.peer().wait(Duration::from_millis(50)));
    connection.peer().kill().unwrap();
    assert!(connection.peer().wait(LIMIT), "before anyone has reaped it");
    let waited = connection.wait(LIMIT).unwrap();
    assert!(waited.peer_exited && !waited.readable, "{waited:?}");
    assert!(matches!(connection.receive(LIMIT), Err(Error::Closed { .. })));
    child.wait().unwrap();
    connection.peer().kill().unwrap();
    drop(heir);
}

#[test]
fn watch_ends_with_the_process_or_when_stopped() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::bind(folder.path().join("s")).unwrap();
    // The peer is this process itself, which does not end.
    let (_socket, connection) = raw(&listener);
    let watch = std::sync::Arc::new(connection.peer().watch().unwrap());
    assert!(!watch.is_stopped_within(Duration::from_millis(1)));
    let waits = std::sync::Arc::clone(&watch);
    let waiting = std::thread::spawn(move || waits.wait());
    watch.stop();
    assert!(!waiting.join().unwrap() && watch.is_stopped_within(LIMIT));
    assert!(!watch.wait(), "it stays stopped");
}
