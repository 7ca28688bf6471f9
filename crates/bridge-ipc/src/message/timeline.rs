//! The timelines of an exchange.

use uuid::Uuid;

use crate::message::resource::Handle;
use crate::message::{DecodeError, code, reserved};
use crate::wire;

/// The side whose signals a timeline carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The worker.
    Computed,
    /// The renderer.
    Rendered,
}

/// Description of a timeline of an exchange. The message carries one descriptor, of an `OPAQUE_FD`
/// timeline semaphore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeline {
    /// Index of the exchange.
    pub exchange: u32,
    /// Side that signals the timeline.
    pub side: Side,
    /// The GPU that exported the timeline.
    pub device_uuid: Uuid,
    /// Current value. The first signal is greater.
    pub value: u64,
}

impl Timeline {
    pub(crate) fn to_wire(self) -> wire::Timeline {
        wire::Timeline {
            header: wire::Timeline::HEADER,
            exchange: self.exchange.into(),
            side: (if self.side == Side::Computed { 1 } else { 2 }).into(),
            handle: Handle::OpaqueFd.number().into(),
            reserved: 0.into(),
            device_uuid: self.device_uuid.into_bytes(),
            value: self.value.into(),
        }
    }

    pub(crate) fn from_wire(wire: &wire::Timeline) -> Result<Self, DecodeError> {
        reserved("Timeline", wire.reserved)?;
        let side = match wire.side.get() {
            1 => Side::Computed,
            2 => Side::Rendered,
            other => return Err(code("side", other)),
        };
        if Handle::from_number(wire.handle.get())? != Handle::OpaqueFd {
            return Err(code("handle", wire.handle.get()));
        }
        Ok(Self {
            exchange: wire.exchange.get(),
            side,
            device_uuid: Uuid::from_bytes(wire.device_uuid),
            value: wire.value.get(),
        })
    }
}
