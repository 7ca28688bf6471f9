//! The exchange: N slots of shared resources that cycle between the compute side and Vulkan.

pub(crate) mod slots;
pub(crate) mod submit;

mod close;
mod core;
mod direction;
mod drop_thread;
mod graph;
mod info;
mod initial;
mod latest;
mod ledger;
#[cfg(all(test, target_os = "linux", feature = "remote"))]
mod locks_tests;
mod lost;
mod mirror;
mod order;
mod pace;
#[cfg(all(target_os = "linux", feature = "remote"))]
mod remote;
mod replace;
mod replaced;
#[cfg(all(test, target_os = "linux", feature = "remote"))]
mod schedules;
mod shared_ledger;
mod signal_lock;
mod state;
mod sync;
mod turn;
mod turn_parts;
mod unfinished;
#[cfg(all(test, target_os = "linux", feature = "remote"))]
mod values_tests;
mod work;
#[cfg(all(target_os = "linux", feature = "remote"))]
mod worker;

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use vk_export::Queue;

use crate::compute::Compute;
use crate::error::Result;
use crate::resources::Resources;
use ledger::FirstSide;
use replaced::ReplacedSlots;
pub(crate) use state::State;
use submit::parts::SubmitParts;

#[cfg(all(target_os = "linux", feature = "remote"))]
pub use direction::RenderFirstRemote;
pub use direction::{ComputeFirst, Direction, RenderFirst};
pub use graph::FrameGraph;
pub use info::ExchangeInfo;
pub use initial::InitialTurn;
pub use latest::{
    ComputeRead, ComputeWrite, LatestInfo, LatestReader, LatestWriter, Lendable, LentLatest, Newest, RenderRead,
    RenderWrite,
};
#[cfg(all(target_os = "linux", feature = "remote"))]
pub(crate) use latest::{RemoteHandle, SentFrame};
#[cfg(all(target_os = "linux", feature = "remote"))]
pub(crate) use ledger::unsent::SubmittedFrame;
#[cfg(all(target_os = "linux", feature = "remote"))]
pub(crate) use remote::draws::RemoteDraws;
#[cfg(all(target_os = "linux", feature = "remote"))]
pub(crate) use remote::program_half::ProgramHalf;
#[cfg(all(target_os = "linux", feature = "remote"))]
pub(crate) use remote::turns::RemoteTurns;
pub use submit::SubmitInfo;
pub use turn::compute::ComputeTurn;
pub use turn::lease::Lease;
pub use turn::lent::LentTurn;
pub use turn::render::RenderTurn;
pub use turn::split::CudaPart;
pub use work::kernels::KernelWork;
pub use work::{CudaWork, HostWork, Work};
#[cfg(all(target_os = "linux", feature = "remote"))]
pub(crate) use worker::{Announcement, WorkerReader, WorkerState, WorkerWriter};

/// A ring of slots holding shared resources. One side writes a slot, the other reads it, and the
/// slot is then reused.
///
/// With [`Exchange::new`] the compute side begins: every frame is a [`ComputeTurn`] that becomes a
/// [`RenderTurn`]. With [`Exchange::render_first`] Vulkan begins, and a [`RenderTurn`] becomes a
/// [`ComputeTurn`]. Synchronization is on the GPU: the side that begins waits for the slot's
/// previous frame, and the other side waits for the first. The host does not wait, unless
/// [`ExchangeInfo::frames_in_flight`] is set.
///
/// An exchange has two timeline semaphores, each with one signaler: the compute side signals
/// `computed`, and the Vulkan queue signals `rendered`. Their values count signals, not frames.
///
/// Dropping an exchange waits for the frames in flight, for at most [`ExchangeInfo::timeout`].
/// Objects that may still be in use after that are leaked deliberately and named in the log;
/// [`close`](Self::close) returns the error instead.
///
/// For the rules that an exchange implements, see [External Resource Interoperability][guide] in
/// the CUDA programming guide and [Queue Family Ownership Transfer][transfer] in the Vulkan
/// specification.
///
/// [guide]: https://docs.nvidia.com/cuda/cuda-c-programming-guide/index.html#external-resource-interoperability
/// [transfer]: https://docs.vulkan.org/spec/latest/chapters/synchronization.html#synchronization-queue-transfers
#[doc = concat!("\n# Examples\n```\n", include_str!("../../docs/exchange.rs"), "```")]
pub struct Exchange<R: Resources, D: Direction = ComputeFirst> {
    // Field order is drop order: `shared`, which waits for the end of all frames, is dropped first.
    shared: Arc<State<R>>,
    replaced: ReplacedSlots<R>,
    resources: R,
    direction: PhantomData<fn() -> D>,
}

impl<R: Resources> Exchange<R, ComputeFirst> {
    /// Creates an exchange whose frames begin on the compute side. Submits the first hand-over of
    /// images and waits for it, unless [`needs_initial`](Self::needs_initial) then returns `true`.
    ///
    /// Do not call it while you hold the lock of the engine's [`QueueLock`](vk_export::QueueLock).
    ///
    /// # Errors
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) for an invalid configuration, such
    /// as no slots, no resources, or accesses whose stages the queue lacks; otherwise the error of
    /// the failed Vulkan or CUDA call. For images on a device whose submissions the bridge makes
    /// itself, [`vk_export::Error::QueueHeld`] inside [`Queue::with`].
    ///
    /// Failure leaks nothing, unless the first hand-over of new images
    /// [may still run](vk_export::Error::may_still_run): it did not complete within the timeout
    /// ([`vk_export::Error::Unfinished`]), or the wait for it failed ([`vk_export::Error::Vulkan`]
    /// of `vkWaitForFences`). Its commands, all slots and the device are then never freed; see
    /// [`LiveObjects`](crate::LiveObjects).
    pub fn new(compute: &Compute, info: &ExchangeInfo<'_>, resources: R) -> Result<Self> {
        Self::with(compute, info, resources, FirstSide::Compute)
    }
}

impl<R: Resources> Exchange<R, RenderFirst> {
    /// Creates an exchange whose frames begin in Vulkan: Vulkan renders, and the compute side
    /// processes the result. Otherwise as [`Exchange::new`].
    ///
    /// # Errors
    /// As [`Exchange::new`].
    pub fn render_first(compute: &Compute, info: &ExchangeInfo<'_>, resources: R) -> Result<Self> {
        Self::with(compute, info, resources, FirstSide::Render)
    }
}

impl<R: Resources, D: Direction> Exchange<R, D> {
    fn with(compute: &Compute, info: &ExchangeInfo<'_>, resources: R, first: FirstSide) -> Result<Self> {
        compute.require_local(|| format!("exchange \"{}\"", info.name))?;
        let shared = State::new(compute, info, &resources, first)?;
        Ok(Self { shared, replaced: ReplacedSlots::new(), resources, direction: PhantomData })
    }

    /// Begins a frame. Work of the side that begins waits on the GPU until the other side has
    /// finished with the slot.
    ///
    /// # Errors
    /// [`Error::NotInitialized`](crate::Error::NotInitialized) while new images wait for their
    /// [first hand-over](Self::needs_initial), [`Error::TurnOpen`](crate::Error::TurnOpen) while
    /// the last frame's first turn is open (with [`RenderFirst`], any turn),
    /// [`Error::SlotBusy`](crate::Error::SlotBusy) while render turns hold every slot,
    /// [`Error::TurnLost`](crate::Error::TurnLost) once after a turn was dropped unfinished,
    /// [`Error::Timeout`](crate::Error::Timeout) if the oldest of
    /// [`ExchangeInfo::frames_in_flight`] frames does not complete in time, the error of
    /// [`Compute::check_alive`] once the compute side has failed, or that of the failed driver
    /// call.
    pub fn begin(&mut self) -> Result<D::Begun<R>> {
        self.replaced.free();
        D::begin_turn(&self.shared, self.shared.next_frame()?)
    }

    /// Returns the queue that frames are submitted to. The turns' barriers name its family.
    pub fn queue(&self) -> &Queue {
        self.shared.queue()
    }

    /// Returns the number of slots.
    pub fn slots(&self) -> usize {
        self.shared.objects.slots.len()
    }

    /// Returns the compute side.
    pub fn compute(&self) -> &Compute {
        &self.shared.compute
    }

    /// Returns the exchange's name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Returns the signal of an empty submission that recovers the slots of dropped lent turns, for
    /// engines that make their own submissions. The parts have no waits. `None` if no slot needs
    /// recovering, or if the signal of a later frame or of the currently lent turn will recover it.
    ///
    /// It is unknown whether the parts of a dropped [`LentTurn`] were submitted, but if so, they
    /// were before the drop. A later signal on the same queue therefore completes after their
    /// commands: once it is reached, [`begin`](Self::begin) reuses the slots, and
    /// [`close`](Self::close) can complete. Every later frame makes such a signal. If none follows,
    /// submit these parts to the exchange's [`queue`](Self::queue), alone or with other work,
    /// before any other frame of the exchange is submitted or lent.
    ///
    /// Call it only to submit the parts: from then on, they count as possibly submitted. Unless
    /// they or a later signal of the exchange reach the queue, closing or dropping the exchange
    /// waits for [`ExchangeInfo::timeout`] and leaks the resources, even if the dropped turn's own
    /// signal is reached. Each call returns new parts, with a higher value.
    ///
    /// If the bridge synchronizes with every submission to the queue
    /// ([`ExportDevice::queues_are_synchronized`](crate::ExportDevice::queues_are_synchronized)),
    /// closing or dropping the exchange submits such a signal by itself.
    ///
    /// Do not call it while you hold the lock of the engine's [`QueueLock`](vk_export::QueueLock):
    /// it waits for submissions of other threads.
    ///
    /// # Errors
    /// [`vk_export::Error::QueueHeld`] inside [`Queue::with`].
    pub fn flush_parts(&mut self) -> Result<Option<SubmitParts>> {
        self.shared.flush_parts()
    }

    /// Closes the exchange: waits for the frames in flight and frees everything, as dropping does,
    /// and returns the error. Inside a closure of the CPU backend, which cannot wait for work
    /// queued after itself, a separate thread does this later and logs the error.
    ///
    /// Do not call it, and do not drop the exchange, while you hold the lock of the engine's
    /// [`QueueLock`](vk_export::QueueLock).
    ///
    /// # Errors
    /// - [`Error::TurnOpen`](crate::Error::TurnOpen) while a turn is held, and
    ///   [`Error::InvalidArgument`](crate::Error::InvalidArgument) while an [`InitialTurn`] is. The
    ///   exchange then ends with the turn, which frees it and logs errors.
    /// - [`Error::Timeout`](crate::Error::Timeout),
    ///   [`Error::ComputeBusy`](crate::Error::ComputeBusy) or the error of the failed driver call
    ///   if the work is not known to have completed. The resources are then leaked deliberately.
    /// - [`vk_export::Error::QueueHeld`] inside [`Queue::with`] if a submission is needed: see
    ///   [`flush_parts`](Self::flush_parts). The resources are then leaked as well.
    ///
    /// With CUDA, earlier work of other exchanges of the same [`Compute`] must complete as well,
    /// since the driver frees nothing while a stream is blocked. On an adopted device, dropped lent
    /// turns are only known to have completed after a later frame or
    /// [`flush_parts`](Self::flush_parts). On a lost Vulkan device nothing is in use, so everything
    /// is freed.
    pub fn close(self) -> Result<()> {
        self.shared.ledger().check_idle().map_err(|refusal| self.shared.refusal_error(refusal))?;
        if self.shared.compute.side().is_current() {
            return Ok(());
        }
        // Otherwise the drop would wait for the timeout again.
        self.shared.quiesce().inspect_err(|_| self.shared.close_failed.store(true, Ordering::Release))
    }

    /// Returns the current resources.
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
            self.shared.objects.slots.len(),
            self.shared.compute.backend()
        )
    }
}
