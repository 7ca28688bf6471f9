//! The offer of an exchange to a worker.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_ipc::{Code, Connection, Direction, Handle, Message, Offer, Received, Resource, SharedMemory, Uuid};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::control::Control;
use super::copy::{SlotFiles, SlotMemory};
use super::memory::{AcceptedMemory, OfferedMemory};
use super::terms::{EXCHANGE, Terms};
use crate::error::{Error, Result};

/// Interval at which a wait for an answer checks that the program still wants it.
const CHECK_INTERVAL: Duration = Duration::from_millis(10);

impl Terms {
    /// Offers the exchange, and waits for the answer until `control` is stopped. A worker on the
    /// CPU gets memory that no other had and, if it writes without trust, all of its slots. One
    /// that computes with CUDA gets what `slots` contains, with timelines that no other had, and
    /// owns no slot yet.
    ///
    /// # Errors
    /// The worker's refusal, or the error of the connection.
    pub(super) fn offer<S>(
        &self,
        connection: &mut Connection,
        slots: OfferedMemory<'_, S>,
        control: &Control,
    ) -> Result<AcceptedMemory<S>> {
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
            OfferedMemory::New => AcceptedMemory::Files(self.send_files(send)?),
            OfferedMemory::Exported { slots, export, handles, given } => {
                for (number, slot) in (0..).zip(0..slots) {
                    for ((index, kind), exported) in (0..).zip(&self.kinds).zip(export(slot)?) {
                        send(Message::Resource(exported.resource(EXCHANGE, number, index, *kind)), exported.as_fd())?;
                    }
                }
                for (timeline, handle) in handles {
                    send(Message::Timeline(timeline), handle.as_fd())?;
                }
                AcceptedMemory::Slots(given)
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
            // The session allows no other message that matters here.
            other => {
                connection.close(Code::Done, "the exchange was not taken");
                return Err(self.invalid(format!("{} answers the offer with {}", connection.name(), other.kind())));
            }
        }
        for slot in 0..self.initial_slots() {
            self.send(connection, &Message::Free { exchange: EXCHANGE, slot, value: 0 }, None, &left, control)?;
        }
        Ok(given)
    }

    /// Creates memory for each slot, and sends it.
    fn send_files(&self, mut send: impl FnMut(Message, BorrowedFd<'_>) -> Result<()>) -> Result<SlotFiles> {
        let mut slots = Vec::new();
        for slot in 0..self.slots() {
            let mut files = Vec::new();
            for (index, kind) in (0..).zip(&self.kinds) {
                let mut resource = Resource {
                    exchange: EXCHANGE,
                    slot,
                    index,
                    kind: *kind,
                    handle: Handle::Memfd,
                    dedicated: false,
                    device_uuid: Uuid::nil(),
                    allocation_size: 0,
                    offset: 0,
                };
                resource.allocation_size = resource.min_size().unwrap_or(0);
                let (memory, ours) = self.new_memory(resource.allocation_size)?;
                send(Message::Resource(resource), memory.handle().as_fd())?;
                files.push(ours);
            }
            slots.push(Arc::from(files));
        }
        Ok(slots.into())
    }

    /// Creates the memory of a resource; returns what is sent to the worker and what is kept.
    fn new_memory(&self, bytes: u64) -> Result<(SharedMemory, SlotMemory)> {
        if self.direction == Direction::RendererWrites {
            let (memory, ours) = SharedMemory::new_read_only(&self.name, bytes)?;
            return Ok((memory, SlotMemory::RendererFile(ours)));
        }
        let memory = SharedMemory::new(&self.name, bytes)?;
        let file = memory.handle().try_clone().map(File::from);
        let theirs = file.map_err(|error| self.invalid(format!("its memory: {error}")))?;
        Ok((memory, SlotMemory::WorkerFile(theirs)))
    }

    /// Sends a message once there is room for it and for its descriptor, waiting in short
    /// intervals.
    fn send(
        &self,
        connection: &mut Connection,
        message: &Message,
        descriptor: Option<BorrowedFd<'_>>,
        left: &impl Fn() -> Duration,
        control: &Control,
    ) -> Result<()> {
        let at_a_time = Timespec { tv_sec: 0, tv_nsec: i64::from(CHECK_INTERVAL.subsec_nanos()) };
        // An interrupted poll counts as no room.
        while poll(&mut [PollFd::new(&connection.as_fd(), PollFlags::OUT)], Some(&at_a_time)).unwrap_or(0) == 0 {
            self.check_wait(connection, left, control)?;
        }
        // `poll` does not report whether there is room for a descriptor.
        while !left().is_zero() {
            if connection.try_send(message, descriptor, left().min(CHECK_INTERVAL))? {
                return Ok(());
            }
            self.check_wanted(connection, control)?;
        }
        // The error names the limit that was reached.
        Ok(connection.send(message, descriptor, Duration::ZERO)?)
    }

    /// Waits for the worker's answer, in short intervals.
    fn answer(&self, connection: &mut Connection, left: &impl Fn() -> Duration, control: &Control) -> Result<Received> {
        loop {
            match connection.receive(left().min(CHECK_INTERVAL)) {
                Err(bridge_ipc::Error::Timeout { .. }) => self.check_wait(connection, left, control)?,
                received => return Ok(received?),
            }
        }
    }

    /// Checks that the wait should continue; ends the connection otherwise.
    fn check_wait(&self, connection: &mut Connection, left: &impl Fn() -> Duration, control: &Control) -> Result<()> {
        self.check_wanted(connection, control)?;
        if left().is_zero() {
            connection.close(Code::Failure, "the exchange was not taken in time");
            let (name, limit) = (connection.name(), self.timeout);
            let reason = "it answers once it asks for an exchange of this name";
            return Err(self.invalid(format!("{name} did not answer the offer within {limit:?}; {reason}")));
        }
        Ok(())
    }

    /// Checks that the program still wants the worker; ends the connection otherwise.
    fn check_wanted(&self, connection: &mut Connection, control: &Control) -> Result<()> {
        if control.is_stopped() {
            connection.close(Code::Done, "the renderer has ended the exchange");
            return Err(self.invalid(format!("it was ended before {} took it", connection.name())));
        }
        Ok(())
    }

    fn invalid(&self, reason: String) -> Error {
        Error::invalid(format!("exchange \"{}\"", self.name), reason)
    }
}

#[cfg(test)]
#[path = "offer_tests.rs"]
mod tests;
