//! The terms that every worker of an exchange is offered.

use std::time::Duration;

use bridge_ipc::{Backend, Direction, MAX_SLOTS, ResourceKind};

use crate::error::{Error, Result};
use crate::exchange::{ExchangeInfo, LatestInfo};

/// The number of the only exchange of a connection.
pub(super) const EXCHANGE: u32 = 0;

/// Terms that are the same for every worker of an exchange.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    pub(super) name: String,
    pub(super) kinds: Box<[ResourceKind]>,
    pub(super) direction: Direction,
    /// The workers' backend, which determines the memory that they are given.
    pub(super) backend: Backend,
    /// The number of the exchange's slots.
    slots: u32,
    pub(super) writer_in_flight: u32,
    pub(super) reader_in_flight: u32,
    pub(super) trust: bool,
    pub(super) timeout: Duration,
}

impl Terms {
    /// Creates the terms from `info`, which was checked.
    pub(super) fn new(
        info: &LatestInfo<'_>,
        kinds: Vec<ResourceKind>,
        backend: Backend,
        direction: Direction,
        trust: bool,
    ) -> Self {
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX).min(MAX_SLOTS);
        Self {
            name: info.name.to_owned(),
            kinds: kinds.into(),
            direction,
            backend,
            slots: number(info.slot_count()),
            writer_in_flight: number(info.writer_in_flight),
            reader_in_flight: number(info.reader_in_flight),
            trust,
            timeout: info.timeout,
        }
    }

    pub(super) fn slots(&self) -> u32 {
        let in_flight = match self.direction {
            // In addition to those that the worker writes, one is copied here, and one waits for
            // that copy, so the worker never waits.
            Direction::WorkerWrites => self.writer_in_flight,
            // The worker holds one, and one is filled here, in addition to those that it has not
            // read yet.
            Direction::RendererWrites => self.reader_in_flight,
        };
        match self.backend {
            // One for each slot of the exchange.
            Backend::Host if self.trust => self.slots,
            Backend::Host => in_flight.saturating_add(2).min(MAX_SLOTS),
            // The worker uses the slots of the exchange.
            _ => self.slots,
        }
    }

    /// Returns the number of slots that the worker owns as soon as it has accepted. Slots of the
    /// exchange itself are given once Vulkan was observed to be finished with them; in step, as
    /// they are freed.
    pub(super) fn initial_slots(&self) -> u32 {
        match (self.direction, self.backend) {
            (Direction::WorkerWrites, Backend::Host) if !self.trust => self.slots(),
            _ => 0,
        }
    }
}

/// Number of owed values from which on a worker in step gets no more slots or frames: two rounds of
/// slots. While the GPU works on one round, the other is enqueued, and waits for no message.
pub(super) fn max_pending(slots: usize) -> usize {
    slots.saturating_mul(2).min(MAX_SLOTS as usize)
}

/// Returns the terms of an exchange in step: all slots may be in flight, and the writer's twice.
pub(super) fn in_step<'a>(info: &ExchangeInfo<'a>) -> LatestInfo<'a> {
    LatestInfo {
        name: info.name,
        slots: Some(info.slots),
        writer_in_flight: max_pending(info.slots),
        reader_in_flight: info.slots,
        timeout: info.timeout,
        queue: info.queue,
        ..LatestInfo::default()
    }
}

/// Checks that the protocol supports this number of slots.
pub(super) fn check_slots(name: &str, slots: usize) -> Result<()> {
    if slots <= MAX_SLOTS as usize {
        return Ok(());
    }
    Err(Error::invalid(
        format!("exchange \"{name}\""),
        format!("it has {slots} slots, but an exchange with a worker can have at most {MAX_SLOTS}; reduce `slots`"),
    ))
}
