//! Telling a worker what there is to write, or to read.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_ipc::{
    Backend, Code, Connection, Direction, Handle, MOST_SLOTS, Message, Offer, Received, Resource, SharedMemory,
    Timeline, Uuid,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::control::Control;
use super::copy::{Files, Memory as CopyMemory};
use super::exported::Exported;
use super::part::{End, Given};
use super::runs::ResourceKind;
use crate::error::{Error, Result};
use crate::exchange::LatestInfo;

/// The number of the one exchange of a connection.
pub(super) const EXCHANGE: u32 = 0;

/// The interval at which a wait for an answer looks at whether the program still wants it.
const AT_A_TIME: Duration = Duration::from_millis(10);

/// The memory that a worker is given.
pub(super) enum Memory<'a, S> {
    /// Memory files, which are made for it.
    New,
    /// The slots of the exchange, and timelines that no other worker had. Each slot is exported
    /// when it is sent: a process has a limit of descriptors.
    Exported {
        slots: usize,
        export: Box<dyn Fn(usize) -> Result<Vec<Exported>> + 'a>,
        handles: [(Timeline, OwnedFd); 2],
        given: S,
    },
}

/// Terms that are the same for every worker of an exchange.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    name: String,
    kinds: Box<[ResourceKind]>,
    direction: Direction,
    /// The workers' backend, which decides what memory they are given.
    pub(super) backend: Backend,
    /// The number of the exchange's slots.
    slots: u32,
    writer_in_flight: u32,
    reader_in_flight: u32,
    trust: bool,
    pub(super) timeout: Duration,
}

impl Terms {
    /// `info` was checked.
    pub(super) fn new<E: End>(info: &LatestInfo<'_>, kinds: Vec<ResourceKind>, backend: Backend) -> Self {
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX).min(MOST_SLOTS);
        Self {
            name: info.name.to_owned(),
            kinds: kinds.into(),
            direction: E::DIRECTION,
            backend,
            slots: number(info.slots),
            writer_in_flight: number(info.writer_in_flight),
            reader_in_flight: number(info.reader_in_flight),
            trust: E::TRUST,
            timeout: info.timeout,
        }
    }

    pub(super) fn slots(&self) -> u32 {
        let in_flight = match self.direction {
            // One more than the worker writes is copied here, and one waits for that: the worker
            // never does.
            Direction::WorkerWrites => self.writer_in_flight,
            // It has one, and one more is filled here, besides those that it has not looked at.
            Direction::RendererWrites => self.reader_in_flight,
        };
        match self.backend {
            // One for each of the exchange's.
            Backend::Host if self.trust => self.slots,
            Backend::Host => in_flight.saturating_add(2).min(MOST_SLOTS),
            // It uses the exchange's own.
            Backend::Cuda => self.slots,
        }
    }

    /// Slots that are the worker's as soon as it has taken the exchange. Those of the exchange
    /// itself are given once Vulkan is seen to be done with them; in step, as they come.
    pub(super) fn given(&self) -> u32 {
        match (self.direction, self.backend) {
            (Direction::WorkerWrites, Backend::Host) if !self.trust => self.slots(),
            _ => 0,
        }
    }

    /// Offers the exchange, and waits for the answer until `control` is stopped. A worker on the
    /// CPU gets memory that no other ever had, and all of its slots to write to; one that computes
    /// with CUDA gets what `slots` are, timelines that no other ever had, and no slot so far.
    ///
    /// # Errors
    /// The worker's refusal, or what the connection says.
    pub(super) fn offer<S>(
        &self,
        connection: &mut Connection,
        slots: Memory<'_, S>,
        control: &Control,
    ) -> Result<Given<S>> {
        let start = Instant::now();
        let left = || self.timeout.saturating_sub(start.elapsed());
        let offer = Offer {
            exchange: EXCHANGE,
            direction: self.direction,
            slots: self.slots(),
            resources: u32::try_from(self.kinds.len()).unwrap_or(u32::MAX),
            writer_in_flight: self.writer_in_flight,
            reader_in_flight: self.reader_in_flight,
            trust: self.trust,
            name: self.name.clone(),
        };
        self.send(connection, &Message::Offer(offer), None, &left, control)?;
        let mut send = |message, handle: BorrowedFd<'_>| self.send(connection, &message, Some(handle), &left, control);
        let given = match slots {
            Memory::New => Given::Files(self.send_files(send)?),
            Memory::Exported { slots, export, handles, given } => {
                for (number, slot) in (0..).zip(0..slots) {
                    for ((index, kind), exported) in (0..).zip(&self.kinds).zip(export(slot)?) {
                        send(Message::Resource(exported.resource(EXCHANGE, number, index, *kind)), exported.as_fd())?;
                    }
                }
                for (timeline, handle) in handles {
                    send(Message::Timeline(timeline), handle.as_fd())?;
                }
                Given::Slots(given)
            }
        };
        match self.answer(connection, &left, control)?.message {
            Message::Ready { .. } => {}
            Message::Refused { code, text, .. } => {
                connection.close(Code::Done, "the exchange was refused");
                return Err(self.invalid(format!("{} refuses it ({code}): {text}", connection.name())));
            }
            Message::Bye { code, text } => {
                return Err(self.invalid(format!("{} ends the connection ({code}): {text}", connection.name())));
            }
            // The session allows nothing else that matters here.
            other => {
                connection.close(Code::Done, "the exchange was not taken");
                return Err(self.invalid(format!("{} answers the offer with {}", connection.name(), other.kind())));
            }
        }
        for slot in 0..self.given() {
            self.send(connection, &Message::Free { exchange: EXCHANGE, slot, value: 0 }, None, &left, control)?;
        }
        Ok(given)
    }

    /// Makes memory for each slot, and sends it.
    fn send_files(&self, mut send: impl FnMut(Message, BorrowedFd<'_>) -> Result<()>) -> Result<Files> {
        let mut slots = Vec::new();
        for slot in 0..self.slots() {
            let mut files = Vec::new();
            for (index, kind) in (0..).zip(&self.kinds) {
                let mut resource = Resource {
                    exchange: EXCHANGE,
                    slot,
                    index,
                    kind: *kind,
                    handle: Handle::MemoryFile,
                    dedicated: false,
                    device_uuid: Uuid::nil(),
                    allocation_size: 0,
                    offset: 0,
                };
                resource.allocation_size = resource.least_size().unwrap_or(0);
                let (memory, ours) = self.new_memory(resource.allocation_size)?;
                send(Message::Resource(resource), memory.handle().as_fd())?;
                files.push(ours);
            }
            slots.push(Arc::from(files));
        }
        Ok(slots.into())
    }

    /// Memory of a resource: what is sent to the worker, and what is kept.
    fn new_memory(&self, bytes: u64) -> Result<(SharedMemory, CopyMemory)> {
        if self.direction == Direction::RendererWrites {
            let (memory, ours) = SharedMemory::new_for_reading(&self.name, bytes)?;
            return Ok((memory, CopyMemory::Ours(ours)));
        }
        let memory = SharedMemory::new(&self.name, bytes)?;
        let file = memory.handle().try_clone().map(File::from);
        let theirs = file.map_err(|error| self.invalid(format!("its memory: {error}")))?;
        Ok((memory, CopyMemory::Theirs(theirs)))
    }

    /// Sends a message once there is room for it, for which it waits a little at a time.
    fn send(
        &self,
        connection: &mut Connection,
        message: &Message,
        descriptor: Option<BorrowedFd<'_>>,
        left: &impl Fn() -> Duration,
        control: &Control,
    ) -> Result<()> {
        let at_a_time = Timespec { tv_sec: 0, tv_nsec: i64::from(AT_A_TIME.subsec_nanos()) };
        // Interrupted, it is as if there were no room.
        while poll(&mut [PollFd::new(&connection.as_fd(), PollFlags::OUT)], Some(&at_a_time)).unwrap_or(0) == 0 {
            self.go_on(connection, left, control)?;
        }
        Ok(connection.send(message, descriptor, left())?)
    }

    /// Waits for what the worker says, a little at a time.
    fn answer(&self, connection: &mut Connection, left: &impl Fn() -> Duration, control: &Control) -> Result<Received> {
        loop {
            match connection.receive(left().min(AT_A_TIME)) {
                Err(bridge_ipc::Error::Timeout { .. }) => self.go_on(connection, left, control)?,
                received => return Ok(received?),
            }
        }
    }

    /// Checks that the worker is still waited for; else ends the connection.
    fn go_on(&self, connection: &mut Connection, left: &impl Fn() -> Duration, control: &Control) -> Result<()> {
        if control.is_stopped() {
            connection.close(Code::Done, "the renderer has ended the exchange");
            return Err(self.invalid(format!("it was ended before {} had taken it", connection.name())));
        }
        if left().is_zero() {
            connection.close(Code::Failure, "the exchange was not taken in time");
            let (name, limit) = (connection.name(), self.timeout);
            return Err(self.invalid(format!("{name} does not answer the offer within {limit:?}")));
        }
        Ok(())
    }

    fn invalid(&self, reason: String) -> Error {
        Error::InvalidArgument { object: format!("exchange \"{}\"", self.name), reason }
    }
}
