//! Tests of the listening socket and of the processes that may connect.

use super::*;

#[test]
fn ten_thousand_connections_leave_no_descriptor() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::bind(folder.path().join("s")).unwrap();
    let before = open_descriptors();
    for turn in 0..10_000 {
        let (socket, mut renderer) = raw(&listener);
        match turn % 3 {
            0 => send_raw(&socket, &[0; 10]),
            1 => send_raw(&socket, &Message::Hello(hello(Role::Worker)).encode().unwrap()),
            _ => drop(socket),
        }
        let _ = renderer.handshake(&hello(Role::Renderer), Duration::from_millis(100));
    }
    assert_eq!(open_descriptors(), before);
}

#[test]
fn socket_is_private_and_removed_with_its_listener() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let listener = Listener::bind(&path).unwrap();
    assert_eq!(fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(Listener::bind(&path), Err(Error::InUse { .. })));
    assert!(matches!(
        Connection::connect(folder.path().join("none"), &ConnectInfo::default()),
        Err(Error::System { .. })
    ));
    drop(listener);
    assert!(!path.exists());
    // The state after a crash.
    leave_stale(&path);
    drop(Listener::bind(&path).unwrap());
    fs::write(&path, "a file").unwrap();
    assert!(matches!(Listener::bind(&path), Err(Error::NotOurs { .. })));
    assert_eq!(fs::read(&path).unwrap(), b"a file");
}

/// Any process that can read the folder can lock it, which does not keep others from listening in
/// it.
#[test]
fn lock_on_the_folder_does_not_block_bind() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let theirs = fs::File::open(folder.path()).unwrap();
    rustix::fs::flock(&theirs, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let path = folder.path().join("s");
    leave_stale(&path);
    let listener = Listener::bind(&path).unwrap();
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["s"], "besides the socket");
    drop(listener);
}

/// `bind` neither waits for nor follows a file of another kind at the path of its lock.
#[test]
fn only_regular_files_of_the_user_are_locked() {
    let _alone = alone();
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let folder = tempfile::tempdir().unwrap();
    let (path, lock) = (folder.path().join("s"), folder.path().join(".s.vk-cuda-bridge"));
    let not_ours = || {
        assert!(matches!(Listener::bind(&path), Err(Error::NotOurs { path }) if path == lock));
        assert!(fs::symlink_metadata(&lock).is_ok() && !path.exists(), "it is left alone");
    };
    mknodat(CWD, &lock, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    not_ours();
    fs::remove_file(&lock).unwrap();
    std::os::unix::fs::symlink(folder.path().join("other"), &lock).unwrap();
    not_ours();
    assert!(!folder.path().join("other").exists());
    fs::remove_file(&lock).unwrap();
    fs::create_dir(&lock).unwrap();
    not_ours();
    fs::remove_dir(&lock).unwrap();
    // A lock file left by a killed process of this user.
    fs::write(&lock, "").unwrap();
    drop(Listener::bind(&path).unwrap());
    assert!(!lock.exists());
}

/// If many processes replace the same socket file, exactly one listens, and workers can connect to
/// it.
#[test]
fn one_of_many_replaces_a_stale_socket() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    for _ in 0..50 {
        leave_stale(&path);
        let binds = || match Listener::bind(&path) {
            Ok(listener) => Some(listener),
            Err(Error::InUse { .. }) => None,
            Err(error) => panic!("{error}"),
        };
        let listeners: Vec<_> = std::thread::scope(|scope| {
            let threads = [(); 4].map(|()| scope.spawn(binds));
            threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
        });
        let [listener] = &listeners[..] else { panic!("{} listen", listeners.len()) };
        raw(listener);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

/// Creates a socket file at which no process listens.
fn leave_stale(path: &Path) {
    let socket = new_socket().unwrap();
    rustix::net::bind(&socket, &rustix::net::SocketAddrUnix::new(path).unwrap()).unwrap();
}

#[test]
fn full_backlog_of_a_renderer_is_reported() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let (socket, address) = (new_socket().unwrap(), rustix::net::SocketAddrUnix::new(&path).unwrap());
    rustix::net::bind(&socket, &address).unwrap();
    rustix::net::listen(&socket, 0).unwrap();
    let mut others = Vec::new();
    loop {
        let other = new_socket().unwrap();
        match rustix::net::connect(&other, &address) {
            Ok(()) => others.push(other),
            Err(error) => break assert_eq!(error, rustix::io::Errno::AGAIN),
        }
    }
    let info = ConnectInfo { timeout: Duration::from_millis(20), ..Default::default() };
    let error = Connection::connect(&path, &info).unwrap_err();
    assert!(matches!(&error, Error::Timeout { .. }), "{error}");
    assert!(error.to_string().contains("room in the queue of the renderer at"), "{error}");
}

#[test]
fn another_user_may_not_connect() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let info = ListenerInfo { user: Some(12345), ..Default::default() };
    let listener = Listener::bind_with(folder.path().join("s"), &info).unwrap();
    let socket = new_socket().unwrap();
    rustix::net::connect(&socket, &rustix::net::SocketAddrUnix::new(listener.path()).unwrap()).unwrap();
    let refused = listener.accept(LIMIT).unwrap_err();
    assert!(matches!(refused, Error::ForeignUser { expected: 12345, .. }), "{refused}");
    assert!(listener.accept(Duration::ZERO).unwrap().is_none());
}
