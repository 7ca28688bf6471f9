//! The exchange: N slots of shared resources that go round between the compute side and Vulkan.

#[cfg(all(target_os = "linux", feature = "remote"))]
mod away;
pub(crate) mod barriers;
#[cfg(all(target_os = "linux", feature = "remote"))]
mod draws;
pub(crate) mod resources;
pub(crate) mod submit;

mod close;
mod compute_turn;
mod core;
mod direction;
mod end;
mod graph;
mod hand_over;
mod info;
mod initial;
mod latest;
mod lease;
mod ledger;
mod lender;
mod lent_turn;
mod lost;
mod mirror;
mod once;
mod order;
mod pace;
mod passed;
mod read_back;
mod refusal;
mod render_turn;
mod replace;
mod retired;
mod retirement;
mod slots;
mod split;
mod state;
#[cfg(all(target_os = "linux", feature = "remote"))]
mod steps;
mod unfinished;
mod values;

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use vk_export::Queue;

use crate::compute::Compute;
use crate::error::{Error, Result};
use ledger::First;
use resources::Resources;
use retired::Retired;
pub(crate) use state::State;
use submit::SubmitParts;

#[cfg(all(target_os = "linux", feature = "remote"))]
pub(crate) use away::{Announced, DrawAway, Drawn, StepAway};
pub use compute_turn::{ComputeTurn, CudaWork, HostWork, Work};
#[cfg(all(target_os = "linux", feature = "remote"))]
pub use direction::RenderAway;
pub use direction::{ComputeFirst, Direction, RenderFirst};
#[cfg(all(target_os = "linux", feature = "remote"))]
pub(crate) use draws::Draws;
pub use graph::FrameGraph;
pub use info::ExchangeInfo;
pub use initial::InitialTurn;
pub use latest::parts::LatestParts;
#[cfg(all(target_os = "linux", feature = "remote"))]
pub(crate) use latest::{Away, Shown};
pub use latest::{
    ComputeRead, ComputeWrite, LatestInfo, LatestReader, LatestWriter, Lendable, LentLatest, Newest, RenderRead,
    RenderWrite,
};
pub use lease::Lease;
pub use lent_turn::LentTurn;
pub use render_turn::RenderTurn;
pub use split::CudaPart;
#[cfg(all(target_os = "linux", feature = "remote"))]
pub(crate) use steps::Steps;
pub use submit::SubmitInfo;

/// A ring of slots holding shared resources. One side writes a slot, the other reads it, and the
/// slot is then reused.
///
/// With [`Exchange::new`] the compute side begins: every frame is a [`ComputeTurn`] that becomes a
/// [`RenderTurn`]. With [`Exchange::render_first`] Vulkan begins, and a [`RenderTurn`] becomes a
/// [`ComputeTurn`]. The GPU does the waiting: the side that begins waits for the frame that used
/// the slot before, the other side waits for the first; the host waits for nothing.
///
/// Two timelines go with it, each with one signaller: `computed`, signalled by the compute side,
/// and `rendered`, by the Vulkan queue. Their values count signals, not frames: a skipped frame
/// takes none.
///
/// Dropping it waits for the frames in flight, with the limit of [`ExchangeInfo::timeout`]. What
/// may still be in use then is leaked on purpose and reported by name in the log;
/// [`close`](Self::close) gives the error instead.
///
/// What an exchange does by itself is in [External Resource Interoperability][guide] of the CUDA
/// programming guide, and in "[Queue Family Ownership Transfer][transfer]" of the Vulkan
/// specification.
///
/// [guide]: https://docs.nvidia.com/cuda/cuda-c-programming-guide/index.html#external-resource-interoperability
/// [transfer]: https://docs.vulkan.org/spec/latest/chapters/synchronization.html#synchronization-queue-transfers
#[doc = concat!("\n# Examples\n```\n", include_str!("../../docs/exchange.rs"), "```")]
pub struct Exchange<R: Resources, D: Direction = ComputeFirst> {
    // Field order is drop order: what waits for the end of all frames goes first.
    shared: Arc<State<R>>,
    retired: Retired<R>,
    resources: R,
    direction: PhantomData<fn() -> D>,
}

impl<R: Resources> Exchange<R, ComputeFirst> {
    /// Makes the slots and the timelines, on both sides, for frames that the compute side begins.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a configuration or accesses that cannot be, such as no slots,
    /// no resources or stages that the queue lacks, else what the two sides say; nothing is left
    /// behind.
    pub fn new(compute: &Compute, info: &ExchangeInfo<'_>, resources: R) -> Result<Self> {
        Self::with(compute, info, resources, First::Compute)
    }
}

impl<R: Resources> Exchange<R, RenderFirst> {
    /// [`Exchange::new`] for frames that Vulkan begins: it draws, the compute side works on the
    /// result.
    ///
    /// # Errors
    /// As [`Exchange::new`].
    pub fn render_first(compute: &Compute, info: &ExchangeInfo<'_>, resources: R) -> Result<Self> {
        Self::with(compute, info, resources, First::Render)
    }
}

impl<R: Resources, D: Direction> Exchange<R, D> {
    fn with(compute: &Compute, info: &ExchangeInfo<'_>, resources: R, first: First) -> Result<Self> {
        compute.require_local(|| format!("exchange \"{}\"", info.name))?;
        let shared = State::new(compute, info, &resources, first)?;
        Ok(Self { shared, retired: Retired::new(), resources, direction: PhantomData })
    }

    /// Begins a frame: the side that begins will wait, on the GPU, until the other is done with the
    /// slot.
    ///
    /// # Errors
    /// [`Error::NotInitialised`] while new images wait for their [first
    /// hand-over](Self::needs_initial), [`Error::TurnOpen`] while the last frame's first turn is
    /// open (with [`RenderFirst`], any turn), [`Error::SlotBusy`] while render turns hold every
    /// slot, [`Error::TurnLost`] once after a turn was dropped half-way, [`Error::Timeout`] where
    /// [`ExchangeInfo::frames_in_flight`] frames do not end, what [`Compute::check_alive`] says
    /// once the compute side has failed, or the failed call.
    pub fn begin(&mut self) -> Result<D::Begun<R>, Error> {
        self.retired.free();
        D::begun(&self.shared, self.shared.next_frame()?)
    }

    /// The queue that Vulkan's side is submitted to; its family is that of the turns' barriers.
    pub fn queue(&self) -> &Queue {
        self.shared.queue()
    }

    /// Returns the number of slots.
    pub fn slots(&self) -> usize {
        self.shared.held.slots.len()
    }

    /// Returns the compute side.
    pub fn compute(&self) -> &Compute {
        &self.shared.compute
    }

    /// Returns the name that it was made with.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The wait and the signal of a submission without commands that brings back the slots of lent
    /// turns which were dropped, for engines that submit themselves. `None` if there is nothing to
    /// bring back, or another signal will do it: that of a later frame, or of the turn that is lent
    /// now.
    ///
    /// It is unknown whether the parts of a dropped [`LentTurn`] were submitted; if so, it was
    /// before the drop. A later signal on the same queue is behind their commands either way: once
    /// it is reached, [`begin`](Self::begin) gives the slots out again, and [`close`](Self::close)
    /// can see the end. Every later frame makes such a signal. Where none follows, submit these
    /// parts to the exchange's [`queue`](Self::queue), alone or with other work, before any other
    /// frame of the exchange is submitted or lent. The wait is for nothing and is there for code
    /// that takes both.
    ///
    /// Parts that are never submitted bring nothing back; the next call gives others. Where nothing
    /// else submits to the queue unseen
    /// ([`ExportDevice::queues_are_synchronized`](crate::ExportDevice::queues_are_synchronized)),
    /// closing and dropping the exchange submit such a signal themselves.
    ///
    /// Call it before the lock is taken that the engine's [`QueueLock`](vk_export::QueueLock)
    /// takes: it waits for submissions of other threads.
    ///
    /// # Errors
    /// [`vk_export::Error::QueueHeld`] inside of [`Queue::with`].
    pub fn flush_parts(&mut self) -> Result<Option<SubmitParts>> {
        self.shared.flush_parts()
    }

    /// Closes the exchange, as dropping does, and returns the error: waits for the frames in flight
    /// and frees everything. Inside a closure of the CPU backend, which cannot wait for what is
    /// enqueued behind itself, a thread of its own does so later and logs the error.
    ///
    /// # Errors
    /// [`Error::TurnOpen`] or [`Error::SlotBusy`] while a turn is still held, [`Error::Timeout`],
    /// [`Error::ComputeBusy`] or the failed call when the work could not be seen to end; the
    /// resources are then leaked on purpose. With CUDA that takes the end of what other exchanges
    /// gave the same [`Compute`] before, since the driver frees nothing while a stream waits. On an
    /// adopted device, the end of lent turns that were dropped is seen only behind a later frame or
    /// [`flush_parts`](Self::flush_parts). On a lost Vulkan device nothing is in use any more, so
    /// that everything is freed.
    pub fn close(self) -> Result<(), Error> {
        self.shared.ledger().idle().map_err(|refusal| self.shared.refused(refusal))?;
        if self.shared.compute.side().is_inside() {
            return Ok(());
        }
        // Dropping would wait for as long once more.
        self.shared.quiesce().inspect_err(|_| self.shared.gave_up.store(true, Ordering::Release))
    }

    /// Returns the resources that it shares now.
    pub fn resources(&self) -> &R {
        &self.resources
    }
}

impl<R: Resources, D: Direction> std::fmt::Debug for Exchange<R, D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Exchange(\"{}\", {} slots, {})",
            self.shared.name,
            self.shared.held.slots.len(),
            self.shared.compute.backend()
        )
    }
}
