//! An exchange, as the renderer offers it.

use crate::limits::{MOST_RESOURCES, MOST_SLOTS};
use crate::message::{DecodeError, code, range, read_name, reserved, write_name};
use crate::wire;

/// Which side writes frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The worker writes, the renderer reads.
    WorkerWrites,
    /// The renderer writes, the worker reads.
    RendererWrites,
}

/// An exchange: so many slots of so many resources. A [`Resource`](crate::Resource) follows for
/// each, slot by slot, and with CUDA two [`Timeline`](crate::Timeline)s.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Its number on this connection: greater than every one before.
    pub exchange: u32,
    /// The side that writes the frames.
    pub direction: Direction,
    /// Number of slots, from 1 to [`MOST_SLOTS`].
    pub slots: u32,
    /// Number of resources of each slot, 1 to [`MOST_RESOURCES`].
    pub resources: u32,
    /// Number of frames of the writer that may be unfinished, at least 1.
    pub writer_in_flight: u32,
    /// Number of turns of the reader that may be unfinished, at least 1.
    pub reader_in_flight: u32,
    /// The exchange is in step, and values are announced before they are reached: the reader has
    /// each frame once and in order, and each side's GPU waits for the other's. Without it, a side
    /// only waits for values that it or its peer has seen reached, so that the peer cannot stall
    /// it. Both sides have said [`Hello::trust`](crate::Hello::trust); where the renderer writes,
    /// they speak [`RENDERER_IN_STEP_SINCE`](crate::RENDERER_IN_STEP_SINCE) or later.
    pub trust: bool,
    /// Name that the worker asks for it by, up to 64 bytes.
    pub name: String,
}

impl Offer {
    pub(crate) fn to_wire(&self) -> Result<wire::Offer, DecodeError> {
        Ok(wire::Offer {
            header: wire::Offer::HEADER,
            exchange: self.exchange.into(),
            direction: (if self.direction == Direction::WorkerWrites { 1 } else { 2 }).into(),
            slots: self.slots.into(),
            resources: self.resources.into(),
            writer_in_flight: self.writer_in_flight.into(),
            reader_in_flight: self.reader_in_flight.into(),
            flags: u32::from(self.trust).into(),
            reserved: 0.into(),
            name: write_name(&self.name)?,
        })
    }

    pub(crate) fn from_wire(wire: &wire::Offer) -> Result<Self, DecodeError> {
        reserved("Offer", wire.reserved)?;
        let direction = match wire.direction.get() {
            1 => Direction::WorkerWrites,
            2 => Direction::RendererWrites,
            other => return Err(code("direction", other)),
        };
        if wire.exchange.get() == wire::CONNECTION {
            return Err(code("exchange", wire::CONNECTION));
        }
        if wire.flags.get() > 1 {
            return Err(code("flags", wire.flags.get()));
        }
        Ok(Self {
            exchange: wire.exchange.get(),
            direction,
            slots: range("slots", wire.slots, 1, MOST_SLOTS)?,
            resources: range("resources", wire.resources, 1, MOST_RESOURCES)?,
            writer_in_flight: range("writer_in_flight", wire.writer_in_flight, 1, MOST_SLOTS)?,
            reader_in_flight: range("reader_in_flight", wire.reader_in_flight, 1, MOST_SLOTS)?,
            trust: wire.flags.get() == 1,
            name: read_name("name", &wire.name)?,
        })
    }
}
