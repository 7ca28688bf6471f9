//! Leases that keep the Vulkan objects of a slot alive.

use std::any::Any;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::exchange::state::State;
use crate::exchange::turn::compute::ComputeTurn;
use crate::exchange::turn::render::RenderTurn;
use crate::exchange::{Direction, Exchange};
use crate::observe::live::{Alive, Kind};
use crate::resources::Resources;

/// A reference that keeps the Vulkan objects of one slot alive beyond a turn, for example for an
/// engine's texture object that wraps the `VkImage`, a descriptor set or an image view.
///
/// Buffers, images and their memory stay valid until the last lease and the exchange are dropped,
/// even if [`replace`](Exchange::replace) has put other resources into the slot. A lease gives no
/// access to the contents: they may be used only between the barriers of a turn, and nothing writes
/// them once the exchange is dropped. A lease keeps neither the exchange alive nor the compute
/// side's mapping, which is freed before the Vulkan objects. The blocks of a
/// [`SharedPool`](crate::SharedPool) are mapped as a whole, so the mapping of a buffer in a pool is
/// freed only once the pool is dropped too. If the compute side's mapping cannot be freed, the
/// Vulkan objects are leaked with it, regardless of leases.
///
/// Drop a lease once the GPU is done with everything that uses the handles: the last owner destroys
/// the objects. A lease also keeps the [`ExportDevice`](crate::ExportDevice) alive; an engine must
/// drop all leases before it destroys an adopted device.
#[must_use = "a lease that is dropped keeps nothing"]
pub struct Lease {
    // Field order is drop order: objects are dropped before the counter is decremented.
    kept: Arc<dyn Any + Send + Sync>,
    exchange: Arc<str>,
    slot: usize,
    _alive: Alive,
}

impl Lease {
    /// Returns the index of the slot that the objects were in, which is less than
    /// [`Exchange::slots`].
    pub fn slot(&self) -> usize {
        self.slot
    }

    /// Returns `true` if both leases keep the same objects: the same slot, with no
    /// [`replace`](Exchange::replace) in between.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.kept, &other.kept)
    }
}

impl Clone for Lease {
    fn clone(&self) -> Self {
        let (kept, exchange) = (Arc::clone(&self.kept), Arc::clone(&self.exchange));
        Self { kept, exchange, slot: self.slot, _alive: Alive::new(Kind::Lease) }
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lease(\"{}\", slot {})", self.exchange, self.slot)
    }
}

impl<R: Resources> State<R> {
    /// Returns a lease on `slot`, which is one of the exchange's slots.
    pub(in crate::exchange) fn lease(&self, slot: usize) -> Lease {
        let kept = Arc::clone(&self.objects.slots[slot]);
        Lease { kept, exchange: self.name.as_str().into(), slot, _alive: Alive::new(Kind::Lease) }
    }

    pub(crate) fn checked_lease(&self, slot: usize) -> Result<Lease> {
        let slots = self.objects.slots.len();
        if slot < slots {
            return Ok(self.lease(slot));
        }
        Err(Error::invalid(
            format!("exchange \"{}\"", self.name),
            format!("it has no slot {slot} to lease; it has {slots} slots, counted from 0"),
        ))
    }
}

impl<R: Resources, D: Direction> Exchange<R, D> {
    /// Returns a [`Lease`] on the Vulkan objects that are in a slot now, for engines that wrap the
    /// objects of all slots at once.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if `slot` is out of range.
    pub fn lease(&self, slot: usize) -> Result<Lease> {
        self.shared.checked_lease(slot)
    }
}

impl<R: Resources, D: Direction> ComputeTurn<R, D> {
    /// Returns a [`Lease`] on the Vulkan objects of the turn's slot.
    pub fn lease(&self) -> Lease {
        self.shared.lease(self.slot)
    }
}

impl<R: Resources, D: Direction> RenderTurn<R, D> {
    /// Returns a [`Lease`] on the Vulkan objects of the turn's slot.
    pub fn lease(&self) -> Lease {
        self.shared.lease(self.slot)
    }
}
