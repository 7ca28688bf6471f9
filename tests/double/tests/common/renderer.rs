//! A scripted renderer for a worker that computes with CUDA.
#![allow(clippy::unwrap_used)]

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use bridge_worker::bridge_ipc::{
    Backend, BufferDescriptor, Connection, Direction, Handle, Hello, Listener, Message, Offer, Resource, ResourceKind,
    Role, Side, Timeline, Uuid,
};
use bridge_worker::{Error, Worker, WorkerInfo};
use cuda_import::PEER_GRANULARITY;
use driver_double::Double;

pub(crate) const LIMIT: Duration = Duration::from_secs(60);
/// Number of elements, of four bytes each.
pub(crate) const LEN: u64 = 256;
/// Size in bytes, which another GPU can map as well.
pub(crate) const ALLOCATION: u64 = PEER_GRANULARITY;

/// Objects that the renderer has exported: slots and two timelines.
pub(crate) struct Exports {
    pub(crate) slots: Vec<OwnedFd>,
    pub(crate) computed: (OwnedFd, u64),
    pub(crate) rendered: (OwnedFd, u64),
}

impl Exports {
    /// Exports two slots.
    pub(crate) fn new(double: &Double) -> Self {
        Self::of_slots(double, 2)
    }

    pub(crate) fn of_slots(double: &Double, slots: usize) -> Self {
        let slots = (0..slots).map(|_| double.export_memory(ALLOCATION, true).handle).collect();
        let [computed, rendered] = [(); 2].map(|()| {
            let exported = double.export_semaphore(true);
            (exported.handle, exported.number)
        });
        Self { slots, computed, rendered }
    }

    pub(crate) fn all(&self) -> Vec<&OwnedFd> {
        self.slots.iter().chain([&self.computed.0, &self.rendered.0]).collect()
    }
}

pub(crate) struct Renderer {
    pub(crate) connection: Connection,
    /// The number of messages until it stops.
    left: u32,
}

impl Renderer {
    /// Offers the exchange "x", which the worker writes, to the next worker that connects.
    pub(crate) fn offer(listener: &Listener, gpu: Uuid, trust: bool, descriptors: &[&OwnedFd]) -> Self {
        Self::offer_in(Direction::WorkerWrites, listener, gpu, trust, descriptors)
    }

    pub(crate) fn offer_in(
        direction: Direction,
        listener: &Listener,
        gpu: Uuid,
        trust: bool,
        descriptors: &[&OwnedFd],
    ) -> Self {
        Self::offer_stopping(u32::MAX, direction, listener, gpu, trust, descriptors)
    }

    /// Like [`offer_in`](Self::offer_in), in a process that stops after `left` messages and reports
    /// it.
    pub(crate) fn offer_stopping(
        left: u32,
        direction: Direction,
        listener: &Listener,
        gpu: Uuid,
        trust: bool,
        descriptors: &[&OwnedFd],
    ) -> Self {
        let hello = Hello { cuda: true, trust, device_uuid: gpu, ..Hello::new(Role::Renderer, "renderer") };
        let mut renderer = Self { connection: listener.accept(LIMIT).unwrap().unwrap(), left };
        renderer.send(Message::Hello(hello));
        let Message::Hello(worker) = renderer.receive() else { panic!("the worker is refused") };
        assert_eq!(worker.backend(), Some(Backend::Cuda));
        renderer.offer_slots(direction, gpu, trust, descriptors);
        renderer
    }

    /// Offers an exchange that the worker writes to the first worker that completes the handshake.
    pub(crate) fn offer_to_any(listener: &Listener, gpu: Uuid, descriptors: &[&OwnedFd]) -> Self {
        let hello = Hello { cuda: true, device_uuid: gpu, ..Hello::new(Role::Renderer, "renderer") };
        let mut attempts = std::iter::repeat_with(|| listener.handshake(&hello, LIMIT));
        let connection = attempts.find_map(|met| met.ok().flatten()).unwrap();
        let mut renderer = Self { connection, left: u32::MAX };
        renderer.offer_slots(Direction::WorkerWrites, gpu, false, descriptors);
        renderer
    }

    /// Sends the offer of the slots and of the two timelines, whose descriptors follow theirs.
    fn offer_slots(&mut self, direction: Direction, gpu: Uuid, trust: bool, descriptors: &[&OwnedFd]) {
        let (memory, timelines) = descriptors.split_at(descriptors.len() - 2);
        self.send(Message::Offer(Offer {
            exchange: 1,
            direction,
            slots: memory.len() as u32,
            resources: 1,
            writer_in_flight: 2,
            reader_in_flight: 1,
            trust,
            name: "x".into(),
        }));
        for (slot, descriptor) in (0..).zip(memory) {
            let resource = Message::Resource(Resource {
                exchange: 1,
                slot,
                index: 0,
                kind: ResourceKind::Buffer(BufferDescriptor { size: LEN * 4, element_size: 4 }),
                handle: Handle::OpaqueFd,
                dedicated: true,
                device_uuid: gpu,
                allocation_size: ALLOCATION,
                offset: 0,
            });
            self.send_with(&resource, descriptor);
        }
        for (side, descriptor) in [Side::Computed, Side::Rendered].into_iter().zip(timelines) {
            let timeline = Message::Timeline(Timeline { exchange: 1, side, device_uuid: gpu, value: 0 });
            self.send_with(&timeline, descriptor);
        }
    }

    pub(crate) fn send(&mut self, message: Message) {
        self.connection.send(&message, None, LIMIT).unwrap();
        self.crossed(message.kind());
    }

    fn send_with(&mut self, message: &Message, descriptor: &OwnedFd) {
        self.connection.send(message, Some(descriptor.as_fd()), LIMIT).unwrap();
        self.crossed(message.kind());
    }

    pub(crate) fn receive(&mut self) -> Message {
        let message = self.connection.receive(LIMIT).unwrap().message;
        self.crossed(message.kind());
        message
    }

    fn crossed(&mut self, kind: &str) {
        self.left -= 1;
        if self.left == 0 {
            // The process that started this one ends it.
            println!("\n@there {kind}");
            std::thread::sleep(Duration::from_secs(60));
        }
    }
}

pub(crate) fn connect(path: &Path) -> Result<Worker, Error> {
    connect_on(path, None)
}

pub(crate) fn connect_on(path: &Path, device: Option<Uuid>) -> Result<Worker, Error> {
    // Allows exchanges in step, if the renderer offers them.
    let info = WorkerInfo { backend: Some(Backend::Cuda), device, timeout: LIMIT, trust: true, ..Default::default() };
    Worker::connect_with(path, &info)
}
