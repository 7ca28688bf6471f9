//! A scripted renderer, and a worker on the CPU that connects to it.
#![allow(dead_code, reason = "no test program needs all of it")]

use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use bridge_ipc::{
    Backend, BufferDescriptor, Connection, Direction, Handle, Hello, Listener, MappedMemory, Message, Offer, Resource,
    ResourceKind, Role, SharedMemory, Uuid,
};
use bridge_worker::{Error, Worker, WorkerInfo};

/// Time limit of each wait, including the start of a process.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// A scripted renderer, which runs on a separate thread.
pub(crate) struct Renderer {
    pub(crate) connection: Connection,
    trust: bool,
}

impl Renderer {
    pub(crate) fn accept(listener: &Listener) -> Self {
        Self::accept_with(listener, false)
    }

    /// Accepts a worker. With `trust`, the offers are in step.
    pub(crate) fn accept_with(listener: &Listener, trust: bool) -> Self {
        let mut connection = listener.accept(LIMIT).unwrap().unwrap();
        let hello = Hello { host: true, trust, ..Hello::new(Role::Renderer, "renderer") };
        assert_eq!(connection.handshake(&hello, LIMIT).unwrap().backend(), Some(Backend::Host));
        Self { connection, trust }
    }

    pub(crate) fn send(&mut self, message: Message) {
        self.connection.send(&message, None, LIMIT).unwrap();
    }

    /// Sends a message to a worker that may have ended meanwhile.
    pub(crate) fn answer(&mut self, message: Message) {
        let _ = self.connection.send(&message, None, LIMIT);
    }

    pub(crate) fn receive(&mut self) -> Message {
        self.connection.receive(LIMIT).unwrap().message
    }

    /// Offers two slots of these kinds, which the worker writes; returns the memory of each slot.
    pub(crate) fn offer(&mut self, exchange: u32, name: &str, kinds: &[ResourceKind]) -> Vec<Vec<MappedMemory>> {
        self.offer_in(Direction::WorkerWrites, exchange, name, kinds)
    }

    pub(crate) fn offer_in(
        &mut self,
        direction: Direction,
        exchange: u32,
        name: &str,
        kinds: &[ResourceKind],
    ) -> Vec<Vec<MappedMemory>> {
        self.send(Message::Offer(Offer {
            exchange,
            direction,
            slots: 2,
            resources: u32::try_from(kinds.len()).unwrap(),
            writer_in_flight: 1,
            reader_in_flight: 1,
            trust: self.trust,
            name: name.into(),
        }));
        let mut slots = Vec::new();
        for slot in 0..2 {
            let mut memories = Vec::new();
            for (index, kind) in (0..).zip(kinds) {
                let mut resource = Resource {
                    exchange,
                    slot,
                    index,
                    kind: *kind,
                    handle: Handle::Memfd,
                    dedicated: false,
                    device_uuid: Uuid::nil(),
                    allocation_size: 0,
                    offset: 16,
                };
                resource.allocation_size = 16 + resource.min_size().unwrap();
                let memory = SharedMemory::new(name, resource.allocation_size).unwrap();
                let sent = Message::Resource(resource);
                self.connection.send(&sent, Some(memory.handle().as_fd()), LIMIT).unwrap();
                memories.push(memory.map().unwrap());
            }
            slots.push(memories);
        }
        slots
    }
}

pub(crate) fn floats(len: u64) -> ResourceKind {
    ResourceKind::Buffer(BufferDescriptor { size: len * 4, element_size: 4 })
}

pub(crate) fn listen() -> (tempfile::TempDir, Listener) {
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::bind(folder.path().join("s")).unwrap();
    (folder, listener)
}

/// Runs both sides until they end.
pub(crate) fn both(renderer: impl FnOnce(&Listener) + Send, worker: impl FnOnce(Worker)) {
    let (_folder, listener) = listen();
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| renderer(&listener));
        worker(connect(listener.path(), LIMIT).unwrap());
        thread.join().unwrap();
    });
}

pub(crate) fn connect(path: &Path, timeout: Duration) -> Result<Worker, Error> {
    Worker::connect_with(path, &WorkerInfo { backend: Some(Backend::Host), timeout, ..Default::default() })
}
