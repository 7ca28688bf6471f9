//! The offer of an exchange.

use crate::limits::{MAX_RESOURCES, MAX_SLOTS};
use crate::message::{DecodeError, code, range, read_name, reserved, write_name};
use crate::wire;

/// The side that writes the frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The worker writes, the renderer reads.
    WorkerWrites,
    /// The renderer writes, the worker reads.
    RendererWrites,
}

/// The offer of an exchange with `slots` slots of `resources` resources each. It is followed by a
/// [`Resource`](crate::Resource) for each of them, slot by slot, and with CUDA by two
/// [`Timeline`](crate::Timeline)s.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Number of the exchange on this connection, greater than all before.
    pub exchange: u32,
    /// The side that writes the frames.
    pub direction: Direction,
    /// Number of slots, from 1 to [`MAX_SLOTS`].
    pub slots: u32,
    /// Number of resources of each slot, 1 to [`MAX_RESOURCES`].
    pub resources: u32,
    /// Maximum number of unfinished frames of the writer, at least 1.
    pub writer_in_flight: u32,
    /// Maximum number of unfinished turns of the reader, at least 1.
    pub reader_in_flight: u32,
    /// Whether the exchange is in step, with values that are announced before they are reached: the
    /// reader gets each frame once and in order, and each side's GPU waits for the other's. Without
    /// it, a side waits only for values that it or its peer has observed as reached, so that the
    /// peer cannot stall it. Requires [`Hello::trust`](crate::Hello::trust) from both sides and, if
    /// the renderer writes, version [`RENDERER_IN_STEP_SINCE`](crate::RENDERER_IN_STEP_SINCE) or
    /// later.
    pub trust: bool,
    /// Name under which the worker requests the exchange, up to 64 bytes.
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
            slots: range("slots", wire.slots, 1, MAX_SLOTS)?,
            resources: range("resources", wire.resources, 1, MAX_RESOURCES)?,
            writer_in_flight: range("writer_in_flight", wire.writer_in_flight, 1, MAX_SLOTS)?,
            reader_in_flight: range("reader_in_flight", wire.reader_in_flight, 1, MAX_SLOTS)?,
            trust: wire.flags.get() == 1,
            name: read_name("name", &wire.name)?,
        })
    }
}
