//! Leases that keep the Vulkan objects of a slot alive.

use std::any::Any;
use std::sync::Arc;

use super::compute_turn::ComputeTurn;
use super::render_turn::RenderTurn;
use super::resources::Resources;
use super::state::State;
use super::{Direction, Exchange};
use crate::error::{Error, Result};
use crate::observe::live::{Alive, Kind};

/// Keeps the Vulkan objects of one slot alive beyond a turn, for example for an engine's texture
/// object that wraps the `VkImage`, a descriptor set or an image view.
///
/// Buffers, images and their memory stay valid until the last lease and the exchange are gone, also
/// where [`replace`](Exchange::replace) has put others into the slot since. A lease gives no access
/// to the contents: those are used between the barriers of a turn, and nobody writes them once the
/// exchange is gone. It does not keep the exchange, nor what the compute side maps, which is freed
/// before: for buffers in a [`SharedPool`](crate::SharedPool), whose blocks are mapped as a whole,
/// once the pool is gone too. Where the compute side's mapping cannot be freed, the Vulkan objects
/// are leaked with it, whatever the leases do.
///
/// Drop it once the GPU is done with everything that uses the handles: the last owner destroys the
/// objects. It keeps the [`ExportDevice`](crate::ExportDevice) too; of a device that was adopted,
/// the engine drops all leases before it destroys the device.
pub struct Lease {
    // Field order is drop order: what is counted as gone is gone.
    kept: Arc<dyn Any + Send + Sync>,
    exchange: Arc<str>,
    slot: usize,
    _alive: Alive,
}

impl Lease {
    /// The slot that the objects were in, below [`Exchange::slots`].
    pub fn slot(&self) -> usize {
        self.slot
    }

    /// Returns `true` if both keep the same objects: of one slot, and not from before and after
    /// they were replaced.
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
    /// `slot` is one of its slots.
    pub(super) fn lease(&self, slot: usize) -> Lease {
        let kept = Arc::clone(&self.held.slots[slot]);
        Lease { kept, exchange: self.name.as_str().into(), slot, _alive: Alive::new(Kind::Lease) }
    }

    pub(crate) fn checked_lease(&self, slot: usize) -> Result<Lease> {
        let slots = self.held.slots.len();
        if slot < slots {
            return Ok(self.lease(slot));
        }
        Err(Error::invalid(
            format!("exchange \"{}\"", self.name),
            format!("there is no slot {slot} to lease; it has {slots}, counted from 0"),
        ))
    }
}

impl<R: Resources, D: Direction> Exchange<R, D> {
    /// A [`Lease`] on the Vulkan objects that are in a slot now, for engines that wrap those of all
    /// slots at once.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if `slot` is out of range.
    pub fn lease(&self, slot: usize) -> Result<Lease> {
        self.shared.checked_lease(slot)
    }
}

impl<R: Resources, D: Direction> ComputeTurn<R, D> {
    /// A [`Lease`] on the Vulkan objects of the turn's slot.
    pub fn lease(&self) -> Lease {
        self.shared.lease(self.slot)
    }
}

impl<R: Resources, D: Direction> RenderTurn<R, D> {
    /// A [`Lease`] on the Vulkan objects of the turn's slot.
    pub fn lease(&self) -> Lease {
        self.shared.lease(self.slot)
    }
}
