//! The end of a connection, with a renderer that is this process itself and lives on.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use bridge_ipc::{ConnectInfo, Hello, Listener, Role};

use super::*;

const LIMIT: Duration = Duration::from_secs(20);

/// A look at a connection waits for nothing while that lasts; once it has ended, it gives the
/// process the caller's time to end.
#[test]
fn a_look_gives_a_process_that_ends_the_time_that_the_caller_has() {
    let folder = std::env::temp_dir().join(format!("bridge-worker-link-{}", std::process::id()));
    let listener = Listener::bind(&folder).unwrap();
    let renderer = std::thread::spawn(move || {
        let mut connection = listener.accept(LIMIT).unwrap().unwrap();
        connection.greet(&Hello { host: true, ..Hello::new(Role::Renderer, "renderer") }, LIMIT).unwrap();
        connection
    });
    let mut connection = Connection::connect(&folder, &ConnectInfo::default()).unwrap();
    let hello = Hello { host: true, ..Hello::new(Role::Worker, "worker") };
    connection.send(&Message::Hello(hello), None, LIMIT).unwrap();
    let renderer = renderer.join().unwrap();
    let link = Link::new(connection, LIMIT).unwrap();
    let start = Instant::now();
    link.check(LIMIT).unwrap();
    assert!(start.elapsed() < LIMIT / 2, "{:?}", start.elapsed());
    // Without a word, as one that is killed.
    let socket = UnixStream::from(renderer.as_fd().try_clone_to_owned().unwrap());
    socket.shutdown(std::net::Shutdown::Both).unwrap();
    for left in [Duration::ZERO, LAST_BREATH * 4] {
        let start = Instant::now();
        assert!(matches!(link.check(left), Err(Ended::Closed(_))));
        assert!(start.elapsed() >= left.max(LAST_BREATH) && start.elapsed() < LIMIT / 2, "{:?}", start.elapsed());
    }
}
