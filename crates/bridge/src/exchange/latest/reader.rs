//! The handle of the side that reads.
#![allow(unsafe_code)] // Recording.

use std::marker::PhantomData;
use std::sync::Arc;

use vk_export::Queue;
use vk_export::ash::vk;

use super::compute_read::ComputeRead;
use super::render_read::RenderRead;
use super::shared::Shared;
use crate::compute::Compute;
use crate::error::Result;
use crate::exchange::direction::{ComputeFirst, Direction, RenderFirst};
use crate::exchange::initial::InitialTurn;
use crate::exchange::ledger::initial::InitialState;
use crate::exchange::submit::parts::SubmitParts;
use crate::exchange::turn::lease::Lease;
use crate::resources::Resources;

/// The side of an [`Exchange::latest`](crate::Exchange::latest) that reads the newest frame:
/// Vulkan, or, with [`RenderFirst`], the compute side.
pub struct LatestReader<R: Resources, D: Direction = ComputeFirst> {
    shared: Arc<Shared<R>>,
    direction: PhantomData<fn() -> D>,
}

impl<R: Resources, D: Direction> LatestReader<R, D> {
    pub(super) fn new(shared: &Arc<Shared<R>>) -> Self {
        Self { shared: Arc::clone(shared), direction: PhantomData }
    }

    pub(super) fn shared(&self) -> &Arc<Shared<R>> {
        &self.shared
    }

    /// Returns the exchange's name.
    pub fn name(&self) -> &str {
        &self.shared.state.name
    }

    /// Returns the resources in each slot.
    pub fn resources(&self) -> &R {
        &self.shared.resources
    }

    /// Returns the number of slots.
    pub fn slots(&self) -> usize {
        self.shared.state.objects.slots.len()
    }

    /// Returns the compute side of this exchange, which has its own stream or thread.
    pub fn compute(&self) -> &Compute {
        &self.shared.state.compute
    }

    /// Returns the queue that Vulkan's side is submitted to. The turns' barriers name its family.
    pub fn queue(&self) -> &Queue {
        self.shared.state.queue()
    }

    /// Returns a [`Lease`] on the Vulkan objects of a slot.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if `slot` is out of range.
    pub fn lease(&self, slot: usize) -> Result<Lease> {
        self.shared.state.checked_lease(slot)
    }

    /// Returns `true` once the writer is dropped and has no open turn, so that no further frame
    /// will be published. A writer's thread that returns an error or panics drops it.
    ///
    /// Frames that were published before may still be unfinished. `newest` returns the last one as
    /// soon as it is finished.
    pub fn is_writer_dropped(&self) -> bool {
        self.shared.is_writer_dropped()
    }
}

impl<R: Resources> LatestReader<R, ComputeFirst> {
    /// Returns a turn with the most recent frame, which is the previous one again if there is none
    /// newer; `None` before the first frame. Never blocks.
    ///
    /// Take one turn for each submission that uses the frame.
    ///
    /// # Errors
    /// [`Error::TurnOpen`](crate::Error::TurnOpen) while the last turn is open, the error of
    /// [`Compute::check_alive`] once the compute side has failed, or the error of the failed driver
    /// call.
    pub fn newest(&mut self) -> Result<Option<RenderRead<R>>> {
        RenderRead::newest(&self.shared)
    }

    /// Returns `true` if new images wait for their first hand-over, as
    /// [`Exchange::needs_initial`](crate::Exchange::needs_initial).
    pub fn needs_initial(&self) -> bool {
        self.shared.state.ledger().initial() != InitialState::Done
    }

    /// Submits the first hand-over of new images and waits for it, as
    /// [`Exchange::initialize`](crate::Exchange::initialize). It also recovers slots that are out
    /// of use because a lent turn was dropped: whether or not the turn was submitted, the slots
    /// return to the compute side with undefined contents.
    ///
    /// # Errors
    /// As [`Exchange::initialize`](crate::Exchange::initialize);
    /// [`Error::OutOfOrder`](crate::Error::OutOfOrder) while slots are out of use and a turn, or a
    /// hand-over of such slots that [`record_initial`](Self::record_initial) recorded, is lent.
    pub fn initialize(&mut self) -> Result<()> {
        self.shared.initialize()
    }

    /// Returns the number of slots that are out of use because lent turns were dropped;
    /// [`initialize`](Self::initialize) and [`record_initial`](Self::record_initial) recover them.
    pub fn retired(&self) -> usize {
        self.shared.ledger().retired_slots().count()
    }

    /// Records the first hand-over of new images, as
    /// [`Exchange::record_initial`](crate::Exchange::record_initial). Once that is done, it records
    /// a hand-over that recovers the [`retired`](Self::retired) slots, for engines that submit it
    /// themselves, with its [`parts`](InitialTurn::parts): the slots' next use waits for their
    /// signal. The host does not wait: if the CPU is still writing a frame to such a slot, wait for
    /// that frame before a present that follows.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if no image needs a hand-over and
    /// no slot is retired, or while the first hand-over is open;
    /// [`Error::OutOfOrder`](crate::Error::OutOfOrder) while slots are retired and a turn, or an
    /// earlier hand-over of such slots, is lent.
    ///
    /// # Safety
    /// As [`Exchange::record_initial`](crate::Exchange::record_initial).
    pub unsafe fn record_initial(&mut self, commands: vk::CommandBuffer) -> Result<InitialTurn<R>> {
        // SAFETY: upheld by the caller.
        unsafe { self.shared.record_initial(commands) }
    }

    /// Returns the parts of a submission after which dropped lent turns are known to have ended, as
    /// [`Exchange::flush_parts`](crate::Exchange::flush_parts): with it on the queue,
    /// [`LatestWriter::close`](crate::LatestWriter::close) can tell that nothing is in use, and if
    /// they are not submitted, it times out. Every later turn has the same effect. It does not
    /// recover slots; [`initialize`](Self::initialize) and [`record_initial`](Self::record_initial)
    /// do.
    ///
    /// # Errors
    /// As [`Exchange::flush_parts`](crate::Exchange::flush_parts).
    pub fn flush_parts(&mut self) -> Result<Option<SubmitParts>> {
        self.shared.state.flush_parts()
    }
}

impl<R: Resources> LatestReader<R, RenderFirst> {
    /// Returns a turn with the most recent frame that Vulkan has rendered, which is the previous
    /// one again if there is none newer; `None` before the first frame. Never blocks.
    ///
    /// # Errors
    /// [`Error::TurnOpen`](crate::Error::TurnOpen) while the last turn is open, the error of
    /// [`Compute::check_alive`] once the compute side has failed, or the error of the failed driver
    /// call.
    pub fn newest(&mut self) -> Result<Option<ComputeRead<R>>> {
        ComputeRead::newest(&self.shared)
    }
}

impl<R: Resources, D: Direction> Drop for LatestReader<R, D> {
    fn drop(&mut self) {
        self.shared.set_reader_dropped();
    }
}

impl<R: Resources, D: Direction> std::fmt::Debug for LatestReader<R, D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LatestReader(\"{}\", {} slots, {})", self.name(), self.slots(), self.compute().backend())
    }
}
