//! The handle of the side that writes.
#![allow(unsafe_code)] // Recording.

use std::marker::PhantomData;
use std::sync::Arc;

use vk_export::Queue;
use vk_export::ash::vk;

use super::LatestReader;
use super::compute_write::ComputeWrite;
use super::render_write::RenderWrite;
use super::shared::Shared;
use crate::compute::Compute;
use crate::error::{Error, Result};
use crate::exchange::direction::{ComputeFirst, Direction, RenderFirst};
use crate::exchange::initial::InitialTurn;
use crate::exchange::ledger::initial::InitialState;
use crate::exchange::submit::parts::SubmitParts;
use crate::exchange::turn::lease::Lease;
use crate::resources::Resources;

/// The side of an [`Exchange::latest`](crate::Exchange::latest) that writes frames: the compute
/// side, or, with [`RenderFirst`], Vulkan.
pub struct LatestWriter<R: Resources, D: Direction = ComputeFirst> {
    shared: Arc<Shared<R>>,
    direction: PhantomData<fn() -> D>,
}

impl<R: Resources, D: Direction> LatestWriter<R, D> {
    pub(super) fn new(shared: &Arc<Shared<R>>) -> Self {
        Self { shared: Arc::clone(shared), direction: PhantomData }
    }

    #[cfg(all(target_os = "linux", feature = "remote"))]
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
    /// [`Error::InvalidArgument`] if `slot` is out of range.
    pub fn lease(&self, slot: usize) -> Result<Lease> {
        self.shared.state.checked_lease(slot)
    }

    /// Returns `true` once the reader is dropped and has no open turn, so that no frame can be read
    /// any more. Call it to end a simulation whose renderer is gone.
    pub fn is_reader_dropped(&self) -> bool {
        self.shared.is_reader_dropped()
    }

    /// Ends the exchange: waits for the work of both sides, for at most
    /// [`LatestInfo::timeout`](crate::LatestInfo::timeout), and frees everything. Dropping the last
    /// of the handles and turns does the same, and logs the error.
    ///
    /// Do not call it while you hold the lock of the engine's [`QueueLock`](vk_export::QueueLock).
    ///
    /// # Errors
    /// - [`Error::InvalidArgument`] for the reader of another exchange. Both exchanges then end as
    ///   if these handles had been dropped.
    /// - [`Error::TurnOpen`] while a turn is open, and [`Error::InvalidArgument`] while an
    ///   [`InitialTurn`] is. The exchange then ends with the turn, which frees it and logs errors.
    /// - [`Error::Timeout`], [`Error::ComputeBusy`] or the error of the failed driver call, such as
    ///   [`vk_export::Error::QueueHeld`], if the work is not known to have completed. The resources
    ///   are then leaked deliberately.
    ///
    /// On an adopted device without a `queue_lock`, dropped lent turns are only known to have
    /// completed after a later turn or `flush_parts`
    /// ([the reader's](crate::LatestReader::flush_parts), or with [`RenderFirst`]
    /// [the writer's](crate::LatestWriter::flush_parts)).
    pub fn close(self, reader: LatestReader<R, D>) -> Result<()> {
        if !Arc::ptr_eq(&self.shared, reader.shared()) {
            return Err(Error::invalid(
                format!("the writer of exchange \"{}\"", self.name()),
                format!("it was closed with the reader of exchange \"{}\"", reader.name()),
            ));
        }
        self.shared.close()
    }
}

impl<R: Resources> LatestWriter<R, ComputeFirst> {
    /// Begins a frame in a slot that the reader does not need. If
    /// [`writer_in_flight`](crate::LatestInfo::writer_in_flight) frames are unfinished, blocks
    /// until the writer's oldest completes; never waits for the reader.
    ///
    /// # Errors
    /// [`Error::TurnOpen`] while the last turn is open, [`Error::TurnLost`] once after a turn was
    /// dropped, [`Error::Timeout`] if the writer's oldest frame does not complete in time,
    /// [`Error::SlotsRetired`] if dropped lent turns have left no slot, [`Error::NotInitialized`]
    /// for new images on an adopted device, the error of [`Compute::check_alive`] once the compute
    /// side has failed, or the error of the failed driver call.
    pub fn begin(&mut self) -> Result<ComputeWrite<R>> {
        ComputeWrite::begin(&self.shared)
    }
}

impl<R: Resources> LatestWriter<R, RenderFirst> {
    /// Begins a frame that Vulkan writes, in a slot that the reader does not need. If
    /// [`writer_in_flight`](crate::LatestInfo::writer_in_flight) submissions are unfinished, blocks
    /// until the writer's oldest completes; never waits for the reader.
    ///
    /// Do not call it while you hold the lock of the engine's [`QueueLock`](vk_export::QueueLock):
    /// if dropped lent turns have left no slot, it submits the signal that recovers them.
    ///
    /// # Errors
    /// [`Error::TurnOpen`] while the last turn is open, [`Error::TurnLost`] once after a turn was
    /// dropped, and while dropped lent turns have left no slot (see
    /// [`flush_parts`](Self::flush_parts)); [`Error::Timeout`] if the writer's oldest submission
    /// does not complete in time, [`Error::NotInitialized`] for new images on an adopted device,
    /// the error of [`Compute::check_alive`] once the compute side has failed, or the error of the
    /// failed driver call.
    pub fn begin(&mut self) -> Result<RenderWrite<R>> {
        RenderWrite::begin(&self.shared)
    }

    /// Returns `true` if new images wait for their first hand-over, as
    /// [`Exchange::needs_initial`](crate::Exchange::needs_initial).
    pub fn needs_initial(&self) -> bool {
        self.shared.state.ledger().initial() != InitialState::Done
    }

    /// Submits the first hand-over of new images and waits for it, as
    /// [`Exchange::initialize`](crate::Exchange::initialize).
    ///
    /// # Errors
    /// As [`Exchange::initialize`](crate::Exchange::initialize).
    pub fn initialize(&mut self) -> Result<()> {
        self.shared.state.initialize()
    }

    /// Records the first hand-over of new images, as
    /// [`Exchange::record_initial`](crate::Exchange::record_initial).
    ///
    /// # Errors
    /// As [`Exchange::record_initial`](crate::Exchange::record_initial).
    ///
    /// # Safety
    /// As [`Exchange::record_initial`](crate::Exchange::record_initial).
    pub unsafe fn record_initial(&mut self, commands: vk::CommandBuffer) -> Result<InitialTurn<R>> {
        // SAFETY: upheld by the caller.
        unsafe { self.shared.state.record_initial(commands) }
    }

    /// Returns the parts of a submission that recovers the slots of dropped lent turns, as
    /// [`Exchange::flush_parts`](crate::Exchange::flush_parts). Every later frame has the same
    /// effect.
    ///
    /// # Errors
    /// As [`Exchange::flush_parts`](crate::Exchange::flush_parts).
    pub fn flush_parts(&mut self) -> Result<Option<SubmitParts>> {
        self.shared.state.flush_parts()
    }
}

impl<R: Resources, D: Direction> Drop for LatestWriter<R, D> {
    fn drop(&mut self) {
        self.shared.set_writer_dropped();
    }
}

impl<R: Resources, D: Direction> std::fmt::Debug for LatestWriter<R, D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LatestWriter(\"{}\", {} slots, {})", self.name(), self.slots(), self.compute().backend())
    }
}
