use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use rustix::net::{SendFlags, send};

use super::connection::new_socket;
use super::*;
use crate::error::{Error, MemoryProblem};
use crate::message::hello::{Backend, Hello, Role};
use crate::message::offer::{Direction, Offer};
use crate::message::resource::{BufferDescriptor, Handle, Resource, ResourceKind};
use crate::message::{Code, Message};
use crate::shared_memory::SharedMemory;

const LIMIT: Duration = Duration::from_secs(5);

/// Descriptors are counted process-wide, so the tests that open some run one at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> std::sync::MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

fn hello(role: Role) -> Hello {
    Hello { host: true, ..Hello::new(role, "test") }
}

/// A raw socket that has connected and said nothing, and the renderer's end.
fn raw(listener: &Listener) -> (OwnedFd, Connection) {
    let socket = new_socket().unwrap();
    rustix::net::connect(&socket, &rustix::net::SocketAddrUnix::new(listener.path()).unwrap()).unwrap();
    (socket, listener.accept(LIMIT).unwrap().unwrap())
}

fn greeted(listener: &Listener) -> (Connection, Connection) {
    let path = listener.path().to_owned();
    std::thread::scope(|scope| {
        let worker = scope.spawn(move || {
            let mut worker = Connection::connect(&path, &ConnectInfo::default()).unwrap();
            worker.send(&Message::Hello(hello(Role::Worker)), None, LIMIT).unwrap();
            worker
        });
        let mut renderer = listener.accept(LIMIT).unwrap().unwrap();
        assert_eq!(renderer.greet(&hello(Role::Renderer), LIMIT).unwrap().backend(), Some(Backend::Host));
        (renderer, worker.join().unwrap())
    })
}

fn offer() -> Message {
    let (exchange, direction, slots, resources) = (1, Direction::WorkerWrites, 1, 1);
    let (writer_in_flight, reader_in_flight, trust, name) = (1, 1, false, "x".into());
    Message::Offer(Offer { exchange, direction, slots, resources, writer_in_flight, reader_in_flight, trust, name })
}

fn resource(bytes: u64) -> Message {
    Message::Resource(Resource {
        exchange: 1,
        slot: 0,
        index: 0,
        kind: ResourceKind::Buffer(BufferDescriptor { size: bytes, element_size: 4 }),
        handle: Handle::MemoryFile,
        dedicated: false,
        device_uuid: uuid::Uuid::nil(),
        allocation_size: bytes,
        offset: 0,
    })
}

fn send_raw(socket: &OwnedFd, bytes: &[u8]) {
    send(socket, bytes, SendFlags::NOSIGNAL).unwrap();
}

#[test]
fn memory_crosses_with_its_message() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::bind(folder.path().join("s")).unwrap();
    let (mut renderer, mut worker) = greeted(&listener);
    renderer.send(&offer(), None, LIMIT).unwrap();
    let memory = SharedMemory::new("m", 64).unwrap();
    renderer.send(&resource(64), Some(memory.handle().as_fd()), LIMIT).unwrap();
    assert_eq!(worker.receive(LIMIT).unwrap().message, offer());
    let received = worker.receive(LIMIT).unwrap();
    let theirs = SharedMemory::from_peer("m", received.descriptor.unwrap(), 64).unwrap().map().unwrap();
    let mine = memory.map().unwrap();
    let bytes: Vec<u8> = (0..50).collect();
    assert!(theirs.write(3, &bytes));
    let mut read = vec![0; 50];
    assert!(mine.read(3, &mut read));
    assert_eq!(read, bytes);
    assert!(!mine.read(15, &mut read) && !mine.write(usize::MAX, &bytes), "outside");
    worker.send(&Message::Ready { exchange: 1 }, None, LIMIT).unwrap();
    assert_eq!(renderer.receive(LIMIT).unwrap().message, Message::Ready { exchange: 1 });
}

#[test]
fn memory_that_could_shrink_is_refused() {
    let _alone = alone();
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
    let refused = |handle: OwnedFd, bytes| match SharedMemory::from_peer("m", handle, bytes).unwrap_err() {
        Error::Memory { problem, .. } => problem,
        other => panic!("{other}"),
    };
    let unsealed = memfd_create("m", MemfdFlags::ALLOW_SEALING).unwrap();
    ftruncate(&unsealed, 64).unwrap();
    assert_eq!(refused(unsealed, 64), MemoryProblem::NotSealed);
    let (reader, _writer) = std::io::pipe().unwrap();
    assert_eq!(refused(reader.into(), 64), MemoryProblem::NotMemory);
    let sealed = || SharedMemory::new("m", 64).unwrap().handle().try_clone().unwrap();
    assert_eq!(refused(sealed(), 65), MemoryProblem::WrongSize { expected: 65, got: 64 });
    assert_eq!(refused(sealed(), u64::MAX), MemoryProblem::Size(u64::MAX));
    assert!(ftruncate(sealed(), 0).is_err(), "the control: a sealed file does not shrink");
}

/// Memory that a peer only reads: it cannot write it, take its pages away, or hold off who writes.
#[test]
fn memory_for_reading_is_written_by_its_maker_alone() {
    let _alone = alone();
    use rustix::fs::{FallocateFlags, fallocate};
    let (memory, ours) = SharedMemory::new_for_reading("m", 64).unwrap();
    let handle = memory.handle().try_clone().unwrap();
    let theirs = SharedMemory::from_peer("m", handle.try_clone().unwrap(), 64).unwrap();
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    assert_eq!(rustix::io::pwrite(&handle, &[1; 8], 0), Err(rustix::io::Errno::PERM));
    assert_eq!(fallocate(&handle, punch, 0, 64), Err(rustix::io::Errno::PERM));
    assert!(theirs.map().is_err(), "it is mapped for writing");
    let theirs = theirs.map_for_reading().unwrap();
    assert!(!theirs.write(0, &[1; 8]), "it is written to, which faults");
    assert!(ours.write(8, &[7; 8]));
    let mut read = [0; 16];
    assert!(theirs.read(0, &mut read));
    assert_eq!(read, [0, 0, 0, 0, 0, 0, 0, 0, 7, 7, 7, 7, 7, 7, 7, 7]);
}

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
        let _ = renderer.greet(&hello(Role::Renderer), Duration::from_millis(100));
    }
    assert_eq!(open_descriptors(), before);
}

#[test]
fn the_socket_is_the_users_own_and_goes_with_its_listener() {
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
    // As after a crash.
    leave_stale(&path);
    drop(Listener::bind(&path).unwrap());
    fs::write(&path, "a file").unwrap();
    assert!(matches!(Listener::bind(&path), Err(Error::NotOurs { .. })));
    assert_eq!(fs::read(&path).unwrap(), b"a file");
}

/// A socket file that nobody listens at.
fn leave_stale(path: &Path) {
    let socket = new_socket().unwrap();
    rustix::net::bind(&socket, &rustix::net::SocketAddrUnix::new(path).unwrap()).unwrap();
}

#[test]
fn another_user_may_not_connect() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let info = ListenerInfo { user: Some(12345) };
    let listener = Listener::bind_with(folder.path().join("s"), &info).unwrap();
    let socket = new_socket().unwrap();
    rustix::net::connect(&socket, &rustix::net::SocketAddrUnix::new(listener.path()).unwrap()).unwrap();
    let refused = listener.accept(LIMIT).unwrap_err();
    assert!(matches!(refused, Error::ForeignUser { expected: 12345, .. }), "{refused}");
    assert!(listener.accept(Duration::ZERO).unwrap().is_none());
}

#[test]
fn a_closed_socket_is_no_death() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::bind(folder.path().join("s")).unwrap();
    let (mut renderer, mut worker) = greeted(&listener);
    worker.close(Code::Failure, "out of ideas");
    let Ok(received) = renderer.receive(LIMIT) else { panic!() };
    assert_eq!(received.message, Message::Bye { code: Code::Failure, text: "out of ideas".into() });
    let told = renderer.receive(LIMIT).unwrap_err().to_string();
    assert!(told.contains("Failure, out of ideas"), "{told}");
    assert!(!renderer.peer().is_dead() && !renderer.wait(Duration::from_millis(20)).unwrap().dead);
}

#[test]
fn what_a_peer_said_is_read_even_if_it_has_not_listened() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::bind(folder.path().join("s")).unwrap();
    let (mut renderer, mut worker) = greeted(&listener);
    // Unread when the worker closes: the system tells the renderer of a reset before all else.
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

/// Its process ends while a child of it still has the socket: only the pidfd tells.
#[test]
fn the_end_of_the_process_is_death_even_if_the_socket_stays_open() {
    const PEER: &str = "BRIDGE_IPC_TEST_PEER";
    if let Some(path) = std::env::var_os(PEER) {
        let socket = new_socket().unwrap();
        rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::empty()).unwrap();
        // Before it connects: its child has the socket by the time the other side knows of it.
        let mut heir = Command::new("sleep").arg("5").spawn().unwrap();
        rustix::net::connect(&socket, &rustix::net::SocketAddrUnix::new(Path::new(&path)).unwrap()).unwrap();
        heir.wait().unwrap();
        return;
    }
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::bind(folder.path().join("s")).unwrap();
    let test = "transport::tests::the_end_of_the_process_is_death_even_if_the_socket_stays_open";
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env(PEER, listener.path())
        .spawn()
        .unwrap();
    let mut connection = listener.accept(LIMIT).unwrap().unwrap();
    assert_eq!(connection.peer().pid(), i32::try_from(child.id()).unwrap());
    assert!(!connection.peer().wait(Duration::from_millis(50)));
    connection.peer().kill().unwrap();
    assert!(connection.peer().wait(LIMIT), "before anyone has reaped it");
    let waited = connection.wait(LIMIT).unwrap();
    assert!(waited.dead && !waited.readable, "{waited:?}");
    assert!(matches!(connection.receive(LIMIT), Err(Error::Closed { .. })));
    child.wait().unwrap();
    connection.peer().kill().unwrap();
}

#[test]
fn bytes_go_to_their_places_in_words() {
    let memory = SharedMemory::new("m", 61).unwrap().map().unwrap();
    let mut model = [0u8; 61];
    for offset in 0..=61 {
        for len in 0..=61 - offset {
            let bytes: Vec<u8> = (0..len).map(|at| (offset * 31 + len * 7 + at) as u8).collect();
            assert!(memory.write(offset, &bytes), "{len} at {offset}");
            model[offset..offset + len].copy_from_slice(&bytes);
            let mut read = vec![0; len];
            assert!(memory.read(offset, &mut read), "{len} at {offset}");
            assert_eq!(read, bytes, "{len} at {offset}");
            let mut all = [0; 61];
            assert!(memory.read(0, &mut all));
            assert_eq!(all, model, "{len} at {offset}: nothing beside it has changed");
        }
    }
    assert!(!memory.write(60, &[1, 2]) && !memory.read(usize::MAX, &mut [0]), "outside");
}

/// Two threads write the halves of one word: neither undoes the other's bytes.
#[test]
fn parts_of_a_word_are_written_by_two_threads() {
    let memory = SharedMemory::new("m", 8).unwrap().map().unwrap();
    let write = |offset: usize| {
        for round in 0..20_000u32 {
            assert!(memory.write(offset, &round.to_ne_bytes()));
            let mut read = [0; 4];
            assert!(memory.read(offset, &mut read));
            assert_eq!(u32::from_ne_bytes(read), round, "at {offset}");
        }
    };
    std::thread::scope(|scope| {
        [0, 4].map(|offset| scope.spawn(move || write(offset))).map(|thread| thread.join().unwrap())
    });
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
