//! A worker in step, as a process whose GPU the test simulates.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bridge_ipc::{ConnectInfo, Direction, Hello, Listener, Offer, Role, Side, Timeline};
use vk_export::ExportDevice;

use super::*;
use crate::buffer::descriptor::resource_kind;
use crate::buffer::spec::BufferSpec;
use crate::exchange::{RemoteHandle, WorkerWriter};
use crate::remote::test_renderer::leave_child;

pub(in crate::remote) type Words = BufferSpec<u32>;

/// A limit that no test reaches if all goes well.
pub(in crate::remote) const LIMIT: Duration = Duration::from_secs(20);
pub(super) const LEN: usize = 64;
const SLOTS: u32 = 3;
/// Set for a process that runs a worker: how it ends, and the path to connect to.
const PLACE: &str = "BRIDGE_STEPS_WORKER";

/// Ends a connection without a message.
fn hang_up(connection: Connection) {
    let socket = connection.as_fd().try_clone_to_owned().unwrap();
    std::os::unix::net::UnixStream::from(socket).shutdown(std::net::Shutdown::Both).unwrap();
}

/// Not a test: a worker that announces frames, or frees two slots, and keeps running.
#[test]
fn the_worker() {
    let Ok(place) = std::env::var(PLACE) else { return };
    let (ends, path) = place.split_once(' ').unwrap();
    let mut connection = Connection::connect(path, &ConnectInfo::default()).unwrap();
    let device_uuid = connection.peer_hello().unwrap().device_uuid;
    let hello = Hello { cuda: true, trust: true, device_uuid, ..Hello::new(Role::Worker, "worker") };
    connection.send(&Message::Hello(hello), None, LIMIT).unwrap();
    let is_last = |message: &Message| matches!(message, Message::Timeline(Timeline { side: Side::Rendered, .. }));
    while !is_last(&connection.receive(LIMIT).unwrap().message) {}
    connection.send(&Message::Ready { exchange: EXCHANGE }, None, LIMIT).unwrap();
    for frame in 0..2 + u64::from(ends == "owes") {
        let message = match connection.receive(LIMIT).unwrap().message {
            Message::Free { slot, .. } => Message::Publish { exchange: EXCHANGE, slot, frame, value: frame + 1 },
            Message::Publish { slot, .. } => Message::Free { exchange: EXCHANGE, slot, value: frame + 1 },
            other => panic!("{other:?}"),
        };
        connection.send(&message, None, LIMIT).unwrap();
    }
    if ends == "leaves-child" {
        leave_child(&connection);
    }
    println!("there");
    // Waits until the first frame is finished.
    std::io::stdin().read_line(&mut String::new()).unwrap();
    match ends {
        "hangs-up" => hang_up(connection),
        "closes" => {
            connection.send(&Message::Close { exchange: EXCHANGE }, None, LIMIT).unwrap();
            hang_up(connection);
        }
        _ => std::mem::forget(connection),
    }
    // Longer than any test waits: `Peer` kills it.
    std::thread::sleep(Duration::from_secs(300));
}

/// A process that runs a worker.
pub(in crate::remote) struct Peer(Child);

impl Peer {
    /// Starts a worker that ends its connection as `ends` says once it was asked to continue.
    pub(in crate::remote) fn start(path: &Path, ends: &str) -> Self {
        let worker = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "remote::listening::test_worker::the_worker"])
            .env(PLACE, format!("{ends} {}", path.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        Self(worker.unwrap())
    }

    pub(in crate::remote) fn process(&self) -> u32 {
        self.0.id()
    }

    /// Waits until the worker has announced its frames, and lets it continue.
    pub(in crate::remote) fn resume(&mut self) {
        let message = BufReader::new(self.0.stdout.take().unwrap()).lines();
        assert!(message.map_while(Result::ok).any(|line| line.ends_with("there")));
        writeln!(self.0.stdin.as_mut().unwrap()).unwrap();
    }

    pub(in crate::remote) fn is_alive(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    pub(in crate::remote) fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns the connection with a worker that has accepted the exchange.
pub(in crate::remote) fn offer(listener: &Listener, device: &ExportDevice, handle: &WorkerWriter<Words>) -> Connection {
    let mut connection = listener.accept(LIMIT).unwrap().unwrap();
    let hello = Hello { cuda: true, trust: true, device_uuid: device.uuid(), ..Hello::new(Role::Renderer, "test") };
    connection.handshake(&hello, LIMIT).unwrap();
    let mut say = |message, descriptor: Option<&dyn AsFd>| {
        connection.send(&message, descriptor.map(AsFd::as_fd), LIMIT).unwrap();
    };
    say(
        Message::Offer(Offer {
            exchange: EXCHANGE,
            direction: Direction::WorkerWrites,
            slots: SLOTS,
            resources: 1,
            writer_in_flight: SLOTS,
            reader_in_flight: SLOTS,
            trust: true,
            name: "steps".to_owned(),
        }),
        None,
    );
    for slot in 0..SLOTS {
        let exported = &handle.export(slot as usize).unwrap()[0];
        let resource = exported.resource(EXCHANGE, slot, 0, resource_kind::<u32>(LEN));
        say(Message::Resource(resource), Some(exported));
    }
    let nothing = rustix::fs::memfd_create("timeline", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    for side in [Side::Computed, Side::Rendered] {
        let timeline = Timeline { exchange: EXCHANGE, side, device_uuid: device.uuid(), value: 0 };
        say(Message::Timeline(timeline), Some(&nothing));
    }
    assert_eq!(connection.receive(LIMIT).unwrap().message, Message::Ready { exchange: EXCHANGE });
    connection
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.kill();
    }
}
