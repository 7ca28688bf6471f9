//! Processes that send invalid messages.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use bridge::{BufferAccess, BufferSpec, Error, LatestInfo, Listener, ListenerInfo};
use bridge_ipc::{ConnectInfo, Connection, Hello, Message, Role};
use bridge_tests::Rig;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketType};
use test_support::Task;

use crate::death::descriptors_of_connections;
use crate::drawn_lost::is_ended;
use crate::scene::{Scene, until};
use crate::worker::Behavior;

fn socket(path: &Path) -> OwnedFd {
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
    rustix::net::connect(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
    socket
}

pub(crate) fn send_bytes(socket: &OwnedFd, bytes: &[u8]) {
    // The renderer may already have closed its end.
    let _ = rustix::net::send(socket, bytes, SendFlags::NOSIGNAL);
}

/// A process whose first message is not a Hello is refused, and the next worker is accepted.
#[test]
fn garbage_instead_of_a_hello_is_refused() {
    let mut scene = Scene::new();
    let hello = Hello { host: true, ..Hello::new(Role::Worker, "hostile") };
    let good = Message::Hello(hello.clone()).encode().unwrap();
    let (mut cut, mut other_pid) = (good.clone(), hello.clone());
    cut.truncate(good.len() - 1);
    other_pid.pid += 1;
    let idle = Hello { host: false, ..hello };
    let messages: [Vec<u8>; 6] = [
        vec![],
        vec![0xff; 300],
        cut,
        Message::Hello(other_pid).encode().unwrap(),
        Message::Hello(idle).encode().unwrap(),
        Message::Ready { exchange: 0 }.encode().unwrap(),
    ];
    let before = descriptors_of_connections();
    for bytes in &messages {
        let peer = socket(&scene.path());
        send_bytes(&peer, bytes);
        let accepted = scene.listener.accept(scene.rig.device(), Rig::LONG);
        assert!(accepted.is_err(), "{} bytes were taken for a Hello", bytes.len());
    }
    // A process that sends nothing is waited for until it disconnects.
    let silent = socket(&scene.path());
    assert!(scene.listener.accept(scene.rig.device(), Duration::ZERO).unwrap().is_none());
    drop(silent);
    let gone = scene.listener.accept(scene.rig.device(), Rig::LONG).unwrap_err().to_string();
    assert!(gone.contains("ended"), "{gone}");
    let start = Instant::now();
    // Other tests of this program have connections, too, for less time than this.
    while descriptors_of_connections() > before {
        assert!(start.elapsed() < 2 * Rig::LONG, "{} instead of {before}", descriptors_of_connections());
    }
    let (_worker, mut reader) = scene.with(Behavior::Runs, 1);
    scene.read_until(&mut reader, (1 << 20) + 3);
}

/// The listener keeps as many silent processes as its limits allow, for the configured time.
#[test]
fn the_program_sets_the_limits_of_a_listener() {
    let rig = Rig::open();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("renderer");
    for (pending, handshake_timeout) in [(0, Rig::LONG), (1, Duration::ZERO)] {
        let none = Listener::bind_with(&path, &ListenerInfo { pending, handshake_timeout }).unwrap_err();
        assert!(matches!(none, Error::InvalidArgument { .. }) && !path.exists(), "{none}");
    }
    let info = ListenerInfo { handshake_timeout: Duration::from_millis(50), pending: 1 };
    let listener = Listener::bind_with(&path, &info).unwrap();
    let _silent = socket(&path);
    let reported = listener.accept(rig.device(), Rig::LONG).unwrap_err().to_string();
    assert!(reported.contains("the Hello of") && reported.contains("50ms"), "{reported}");
    drop(listener);
    let info = ListenerInfo { pending: 1, ..Default::default() };
    let listener = Listener::bind_with(&path, &info).unwrap();
    let _silent = [socket(&path), socket(&path)];
    let reported = listener.accept(rig.device(), Rig::LONG).unwrap_err().to_string();
    assert!(reported.contains("1 connections"), "{reported}");
}

/// A worker that has taken the exchange and then sends an invalid message loses its connection,
/// without further effects on the renderer.
#[test]
fn protocol_violations_end_the_connection() {
    let publish = |slot, frame, value| Message::Publish { exchange: 0, slot, frame, value }.encode().unwrap();
    let messages: Vec<Vec<Vec<u8>>> = vec![
        vec![publish(1000, 0, 1)],
        vec![publish(0, 0, 1), publish(0, 1, 2), publish(0, 2, 3), publish(0, 3, 4)],
        vec![publish(0, 7, 1), publish(1, 3, 2)],
        vec![publish(0, 0, u64::MAX)],
        vec![Message::Free { exchange: 0, slot: 0, value: 0 }.encode().unwrap()],
        vec![vec![0x55; 64]],
        vec![vec![0; 4000]],
    ];
    for bytes in messages {
        let mut scene = Scene::new();
        let path = scene.path();
        let worker = std::thread::spawn(move || {
            let mut connection = Connection::connect(&path, &ConnectInfo::default()).unwrap();
            let hello = Hello { host: true, ..Hello::new(Role::Worker, "hostile") };
            connection.send(&Message::Hello(hello), None, Rig::LONG).unwrap();
            let Message::Offer(offer) = connection.receive(Rig::LONG).unwrap().message else { panic!() };
            for _ in 0..offer.slots {
                connection.receive(Rig::LONG).unwrap();
            }
            connection.send(&Message::Ready { exchange: 0 }, None, Rig::LONG).unwrap();
            for _ in 0..offer.slots {
                connection.receive(Rig::LONG).unwrap();
            }
            let raw = rustix::io::dup(&connection).unwrap();
            bytes.iter().for_each(|bytes| send_bytes(&raw, bytes));
            // Runs until the renderer disconnects.
            while connection.receive(Rig::LONG).is_ok() {}
        });
        let mut reader = scene.accept().latest(&Scene::info(), Scene::spec()).unwrap();
        let (error, _) = scene.lost(&mut reader);
        // This process was the worker, and it is alive.
        assert!(
            error.to_string().contains("cut off") && matches!(error, bridge::Error::PeerLost { dead: false, .. }),
            "{error}"
        );
        worker.join().unwrap();
        let (_worker, other) = (crate::worker::Worker::start(&scene.path(), Behavior::Runs, 9), scene.accept());
        reader.reconnect(other).unwrap();
        scene.read_until(&mut reader, (9 << 20) + 2);
    }
}

/// A worker that publishes as fast as it can does not block the renderer's thread: frames are
/// shown, and closing does not wait.
#[test]
fn a_flood_of_frames_does_not_block_the_renderer() {
    let mut scene = Scene::new();
    let path = scene.path();
    let worker = std::thread::spawn(move || {
        let worker = bridge_worker::Worker::connect_with(&path, &crate::renderer::on_the_cpu()).unwrap();
        let mut writer = worker.latest::<bridge_worker::Buffer<u32>>("remote").unwrap();
        // Every frame holds zeros: the test is about the messages.
        while writer.begin().and_then(bridge_worker::WriteTurn::publish).is_ok() {}
    });
    let mut reader = scene.accept().latest(&Scene::info(), Scene::spec()).unwrap();
    let mut frames = Vec::new();
    while frames.len() < 50 {
        scene.read(&mut reader);
        frames.extend(reader.newest().unwrap().map(|turn| turn.frame()));
        frames.dedup();
    }
    let start = std::time::Instant::now();
    reader.close().unwrap();
    assert!(start.elapsed() < Rig::LONG, "closing took {:?}", start.elapsed());
    worker.join().unwrap();
}

/// The program may end the connection at any time; the connection's thread is notified in every
/// state.
#[test]
fn an_exchange_is_ended_at_any_time() {
    let scene = Scene::new();
    let (mut worker, mut reader) = scene.with(Behavior::Runs, 1);
    let mut longest = Duration::ZERO;
    for round in 0..40u64 {
        std::thread::sleep(Duration::from_micros(round % 7 * 300));
        let start = std::time::Instant::now();
        reader.disconnect();
        longest = longest.max(start.elapsed());
        let error = reader.check_worker().unwrap_err().to_string();
        assert!(is_ended(&error), "{error}");
        worker.kill();
        worker = crate::worker::Worker::start(&scene.path(), Behavior::Runs, 2);
        reader.reconnect(scene.accept()).unwrap();
    }
    assert!(longest < Rig::LONG, "ending took {longest:?}");
}

/// If a worker does not read an offer that is larger than its socket's buffer, the program can end
/// the connection at any time.
#[test]
fn an_offer_that_nobody_reads_is_ended_at_any_time() {
    let scene = Scene::new();
    let path = scene.path();
    let connect = move || {
        let mut connection = Connection::connect(&path, &ConnectInfo::default()).unwrap();
        let hello = Hello { host: true, ..Hello::new(Role::Worker, "hostile") };
        connection.send(&Message::Hello(hello), None, Rig::LONG).unwrap();
        connection
    };
    let first = std::thread::spawn({
        let connect = connect.clone();
        move || {
            let mut connection = connect();
            let receive = |connection: &mut Connection| connection.receive(Rig::LONG).unwrap().message;
            let Message::Offer(offer) = receive(&mut connection) else { panic!() };
            (0..offer.slots * offer.resources).for_each(|_| drop(receive(&mut connection)));
            connection.send(&Message::Ready { exchange: 0 }, None, Rig::LONG).unwrap();
            (0..offer.slots).for_each(|_| drop(receive(&mut connection)));
            // Disconnects.
        }
    });
    let info = LatestInfo { writer_in_flight: 56, slots: Some(60), ..Scene::info() };
    let spec = vec![BufferSpec::<u32>::new(64, BufferAccess::TRANSFER_READ); 16];
    let mut reader = scene.accept().latest(&info, spec).unwrap();
    first.join().unwrap();
    until("the end of the worker", || reader.check_worker().is_err());
    let silent = std::thread::spawn(connect);
    let remote = scene.accept();
    let silent = silent.join().unwrap();
    let greeting = unread(&silent);
    reader.reconnect(remote).unwrap();
    wait_until_full(&silent, greeting);
    assert!(reader.check_worker().is_ok(), "all of it was sent, or given up");
    let start = std::time::Instant::now();
    reader.disconnect();
    assert!(start.elapsed() < Rig::LONG, "ending took {:?}", start.elapsed());
}

/// Returns the number of bytes that were sent to `receiver` and that it has not received.
fn unread(receiver: &Connection) -> u64 {
    rustix::io::ioctl_fionread(receiver).unwrap()
}

/// Waits until the sender has reached the point at which no further message fits: it has sent
/// something after the greeting, and sleeps.
fn wait_until_full(receiver: &Connection, greeting: u64) {
    until("messages that nobody reads", || unread(receiver) > greeting);
    let senders = Task::named("bridge-remote");
    assert!(!senders.is_empty(), "no thread serves the connection");
    senders.iter().for_each(|sender| assert!(sender.wait_until_it_waits(|| false, Rig::LONG)));
}

/// A worker that has shut down its socket for reading receives no slot: it is lost, although its
/// process is alive.
#[test]
fn a_worker_that_receives_nothing_is_lost() {
    let mut scene = Scene::new();
    let path = scene.path();
    let (done, is_done) = std::sync::mpsc::channel::<()>();
    let worker = std::thread::spawn(move || {
        let mut connection = Connection::connect(&path, &ConnectInfo::default()).unwrap();
        drop(crate::reading::accept_exchange(&mut connection));
        for _ in 0..4 {
            let reported = connection.receive(Rig::LONG).unwrap().message;
            assert!(matches!(reported, Message::Free { .. }), "{reported:?}");
        }
        rustix::net::shutdown(&connection, rustix::net::Shutdown::Read).unwrap();
        let publish = Message::Publish { exchange: 0, slot: 0, frame: 0, value: 1 };
        connection.send(&publish, None, Rig::LONG).unwrap();
        let _ = is_done.recv();
    });
    let mut reader = scene.accept().latest(&Scene::info(), Scene::spec()).unwrap();
    let (error, _) = scene.lost(&mut reader);
    assert!(error.to_string().contains("has closed the connection"), "{error}");
    assert_eq!(scene.settled(&mut reader, Some(0)), Some(0), "what it had published is shown");
    drop(done);
    worker.join().unwrap();
}
