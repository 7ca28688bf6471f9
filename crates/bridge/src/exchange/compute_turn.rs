//! The compute side's part of a frame.
#![allow(unsafe_code)] // Lends what the turn owns.

use std::marker::PhantomData;
use std::sync::Arc;

use cuda_import::cudarc::driver::CudaStream;

use super::direction::{ComputeFirst, Direction, RenderFirst};
use super::ledger::First;
use super::resources::Resources;
use super::state::State;
use crate::compute::host::stream::HostStream;
use crate::compute::remote;
use crate::compute::sided::Sided;
use crate::error::{Error, Result};
use crate::kernel::work::KernelWork;
use crate::observe::live::{Alive, Kind};
use crate::observe::{log_error, log_warn};
use crate::timeline::TimelinePoint;

/// The compute side's part of a frame: it owns the slot until [`finish`](Self::finish).
///
/// If it is dropped before that, its frame is lost: the next `begin` returns [`Error::TurnLost`],
/// and the one after that succeeds.
#[must_use = "a turn that is dropped before `finish` loses its frame"]
pub struct ComputeTurn<R: Resources, D: Direction = ComputeFirst> {
    pub(super) shared: Arc<State<R>>,
    pub(super) frame: u64,
    pub(super) slot: usize,
    /// The value of `rendered` that this frame's submission signals, where Vulkan began it.
    pub(super) rendered: u64,
    pub(super) finished: bool,
    /// Several GPUs were lent parts of it, and the one that leads is not behind them yet.
    pub(super) split: bool,
    /// Why the GPU that leads was not behind the others when it was lent the slot, so that the
    /// frame cannot be handed over.
    pub(super) unjoined: Option<Box<Error>>,
    pub(super) direction: PhantomData<fn() -> D>,
    pub(super) alive: Alive,
}

/// Resources to compute with.
///
/// To launch kernels, call [`kernels`](Self::kernels), see [`KernelWork`]; if the kernels have no
/// twins in Rust, match [`Host`](Self::Host) first. To use cudarc's launches and copies, match
/// [`Cuda`](Self::Cuda), and return an error for variants that you do not handle.
#[non_exhaustive]
pub enum Work<'t, R: Resources> {
    /// A CUDA stream and the resources as device views, with
    /// [`Backend::Cuda`](crate::Backend::Cuda).
    Cuda(CudaWork<'t, R>),
    /// The CPU's queue of closures, with [`Backend::Host`](crate::Backend::Host).
    Host(HostWork<'t, R>),
    /// Kernels in command buffers of the Vulkan queue, with
    /// [`Backend::Inline`](crate::Backend::Inline).
    Inline(KernelWork<'t, R>),
    /// No local work, with [`Backend::Remote`](crate::Backend::Remote): another process computes.
    /// Programs do not receive this variant.
    Remote,
}

/// A frame's work on CUDA.
#[non_exhaustive]
pub struct CudaWork<'t, R: Resources> {
    /// The stream that waits for the slot and will signal it. Launch kernels that use the resources
    /// here; cudarc's copies may use any stream of the device.
    pub stream: &'t Arc<CudaStream>,
    /// The resources, as kernel arguments and as cudarc slices.
    pub resources: R::Cuda<'t>,
    pub(super) slot: &'t R::CudaSlot,
    /// The compute stream; not `stream` while a graph is captured.
    pub(super) home: &'t Arc<CudaStream>,
}

/// A frame's work on the CPU.
pub struct HostWork<'t, R: Resources> {
    stream: &'t HostStream,
    slots: &'t Arc<[R::HostSlot]>,
    slot: usize,
    turn: PhantomData<&'t mut R>,
}

impl<'t, R: Resources> Work<'t, R> {
    /// Converts the work for launching kernels loaded with [`Compute::load`](crate::Compute::load):
    /// on a CUDA stream, in a command buffer, or as twins on the CPU.
    ///
    /// # Errors
    /// The error of the call that orders other streams' work on the resources before the launches.
    pub fn kernels(self) -> Result<KernelWork<'t, R>> {
        match self {
            Self::Cuda(cuda) => {
                if R::has_foreign_work(cuda.slot) {
                    R::join(cuda.slot)?;
                }
                Ok(KernelWork::on_stream(cuda.stream, cuda.home, R::kernel(cuda.resources)))
            }
            Self::Inline(inline) => Ok(inline),
            Self::Remote => Err(remote::nothing_here("the work of a frame".into())),
            Self::Host(host) => {
                // SAFETY: rule "no access outside the turn": as for closures; twins run on the same
                // thread, in the same order.
                let resources = unsafe { R::twin(&host.slots[host.slot]) };
                Ok(KernelWork::on_host(host.stream, host.slots, resources))
            }
        }
    }
}

impl<R: Resources> State<R> {
    /// Resources to compute with in a slot.
    ///
    /// # Safety
    /// Until the result is gone, nobody else computes with the slot. What is enqueued with it comes
    /// after the wait for Vulkan's last use of the slot, and before the signal that Vulkan's next
    /// waits for.
    pub(super) unsafe fn work(&self, slot: usize) -> Work<'_, R> {
        match &self.held.lender {
            Sided::Cuda(cuda) => {
                let slot = &cuda.slots[slot];
                // SAFETY: rule "no access outside the turn": exclusive and ordered by this
                // function's contract.
                let resources = unsafe { R::cuda(slot) };
                let stream = cuda.link.stream();
                Work::Cuda(CudaWork { stream, resources, slot, home: stream })
            }
            Sided::Host(host) => {
                let (stream, slots) = (host.link.stream(), &host.slots);
                Work::Host(HostWork { stream, slots, slot, turn: PhantomData })
            }
            Sided::Inline(inline) => {
                // SAFETY: as above; the queue's order and the barriers stand for the stream's wait
                // and signal.
                let resources = unsafe { R::inline(&inline.slots[slot]) };
                Work::Inline(KernelWork::on_queue(inline.link.stream(), resources))
            }
            Sided::Remote(_) => Work::Remote,
        }
    }
}

impl<R: Resources, D: Direction> ComputeTurn<R, D> {
    pub(super) fn new(shared: Arc<State<R>>, frame: u64, slot: usize, rendered: u64) -> Self {
        let alive = Alive::new(Kind::Turn);
        Self {
            shared,
            frame,
            slot,
            rendered,
            finished: false,
            split: false,
            unjoined: None,
            direction: PhantomData,
            alive,
        }
    }

    /// The number of the frame, from 0.
    pub fn frame(&self) -> u64 {
        self.frame
    }

    /// Returns the slot's index, less than [`Exchange::slots`](crate::Exchange::slots). The slot
    /// has the contents of its last use or, with [`RenderFirst`], what Vulkan has rendered.
    pub fn slot(&self) -> usize {
        self.slot
    }

    /// Lends the resources to compute with. With several GPUs, the work is on the leading GPU,
    /// ordered after the parts lent by [`work_split`](Self::work_split). If that order cannot be
    /// established, the frame is lost and [`finish`](Self::finish) returns the error.
    pub fn work(&mut self) -> Work<'_, R> {
        if let Err(error) = self.join_split() {
            // The first error stays: later work may be in order, what was lent in between is not.
            self.unjoined.get_or_insert_with(|| Box::new(error));
        }
        // SAFETY: this turn alone holds the slot, and the borrow of the turn is the borrow of the
        // work. What is computed out of order is never handed over, and no later turn is given the
        // slot before the GPUs are in order again.
        unsafe { self.shared.work(self.slot) }
    }

    /// Hands the slot over by enqueuing a signal after the turn's work. Returns the frame's
    /// [`RenderTurn`] or, with [`RenderFirst`], the point at which the work completes.
    ///
    /// # Errors
    /// The error of the failed driver call; the frame is then lost, as if the turn had been
    /// dropped.
    ///
    /// [`RenderTurn`]: crate::RenderTurn
    pub fn finish(mut self) -> Result<D::Finished<R>> {
        if let Some(error) = self.unjoined.take() {
            return Err(*error);
        }
        let point = self.shared.compute_signals(self.slot)?;
        Ok(self.signalled(point))
    }

    /// Puts the stream that leads behind the other GPUs' parts of the frame: their home streams
    /// behind what other streams there do with the parts, and the leader behind those.
    pub(super) fn join_split(&mut self) -> Result<()> {
        if self.split {
            self.shared.held.lender.join(self.slot)?;
            self.split = false;
        }
        Ok(())
    }

    /// The signal of `computed` is enqueued.
    pub(super) fn signalled(mut self, computed: TimelinePoint) -> D::Finished<R> {
        self.shared.ledger().finish(self.slot, computed.value());
        self.finished = true;
        D::finished(self.pass_on(), computed)
    }

    /// Returns the slot without handing it over, for a frame with nothing to compute or whose
    /// computation failed. Work that was enqueued or recorded still runs, and the slot's next use
    /// is ordered after it. The frame does not count as lost.
    ///
    /// # Errors
    /// The error of the failed driver call; the frame is then lost, as if the turn had been
    /// dropped.
    pub fn skip(mut self) -> Result<()> {
        match D::FIRST {
            First::Compute => {
                // The next compute turn of the slot is on the same stream, behind what is joined
                // here.
                self.shared.held.lender.join(self.slot)?;
                self.shared.held.lender.note_unsignalled();
                self.shared.ledger().skip_compute(self.slot);
            }
            First::Render | First::Away => {
                let point = self.shared.compute_signals(self.slot)?;
                self.shared.ledger().finish(self.slot, point.value());
                self.shared.note_end(point.value());
            }
        }
        self.finished = true;
        Ok(())
    }
}

impl<R: Resources> ComputeTurn<R, RenderFirst> {
    /// Returns the point at which Vulkan has rendered the frame. The compute stream already waits
    /// for it.
    pub fn rendered(&self) -> TimelinePoint {
        self.shared.held.rendered.issued(self.rendered)
    }
}

impl<R: Resources, D: Direction> Drop for ComputeTurn<R, D> {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        if let Some(error) = self.unjoined.take() {
            log_error!("{error}");
        }
        // What was enqueued may still use the slot: its next frame is behind that, on the stream
        // that leads, or behind the signal that Vulkan waits for.
        let ended = match D::FIRST {
            First::Compute => {
                self.shared.held.lender.note_unsignalled();
                self.join_split().map(|()| None)
            }
            First::Render | First::Away => self.shared.compute_signals(self.slot).map(|point| Some(point.value())),
        };
        let mut ledger = self.shared.ledger();
        ledger.drop_compute(self.slot, *ended.as_ref().unwrap_or(&None));
        if let (First::Compute, Err(_)) = (D::FIRST, &ended) {
            ledger.keep_unjoined(self.slot, self.frame);
        }
        drop(ledger);
        log_warn!("exchange \"{}\": the compute turn of frame {} was dropped", self.shared.name, self.frame);
        if let Err(error) = ended {
            log_error!("{error}");
        }
    }
}

impl<R: Resources> HostWork<'_, R> {
    /// Enqueues a closure that gets the resources as slices; it runs on the CPU backend's thread,
    /// after what was enqueued before it and after Vulkan is done with the slot. Several closures
    /// run one after the other.
    ///
    /// # Errors
    /// [`Error::HostFailed`] if an earlier closure panicked, or Vulkan did not finish with a slot
    /// in time.
    pub fn run(&self, work: impl for<'a> FnOnce(R::Host<'a>) + Send + 'static) -> Result<(), Error> {
        let (slots, slot) = (Arc::clone(self.slots), self.slot);
        self.stream.run(move || {
            // SAFETY: the turn that enqueued this holds the slot until its signal, which is behind
            // this in the queue; Vulkan's last use is before this, by the wait that came before;
            // closures run one at a time.
            work(unsafe { R::host(&slots[slot]) });
        })
    }

    /// [`run`](Self::run) with the bytes of the resources, as `Share::bytes` gives them.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    #[cfg(all(target_os = "linux", feature = "remote"))]
    pub(crate) fn run_on_bytes(
        &self,
        mut each: impl FnMut(crate::remote::runs::Run, &mut [u8]) + Send + 'static,
    ) -> Result<(), Error> {
        let (slots, slot) = (Arc::clone(self.slots), self.slot);
        // SAFETY: as in `run`.
        self.stream.run(move || unsafe { R::bytes(&slots[slot], &mut each) })
    }

    /// [`run`](Self::run) with the resources of two turns, of two exchanges on the same
    /// [`Compute`](crate::Compute). Both are borrowed exclusively, so that the two are different
    /// slots.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when the two are on different compute sides, else as
    /// [`run`](Self::run).
    pub fn run_with<S: Resources>(
        &mut self,
        other: &mut HostWork<'_, S>,
        work: impl for<'a> FnOnce(R::Host<'a>, S::Host<'a>) + Send + 'static,
    ) -> Result<(), Error> {
        if !self.stream.is_same(other.stream) {
            return Err(Error::invalid(
                "host work of two turns",
                "their exchanges are on different compute sides; make both with the same `Compute`",
            ));
        }
        let (mine, my_slot) = (Arc::clone(self.slots), self.slot);
        let (others, other_slot) = (Arc::clone(other.slots), other.slot);
        self.stream.run(move || {
            // SAFETY: as in `run`; both turns' waits are before this in the one queue, their
            // signals behind it.
            let first = unsafe { R::host(&mine[my_slot]) };
            // SAFETY: as above; a turn lends one `HostWork` at a time and both were borrowed
            // exclusively: two slots.
            let second = unsafe { S::host(&others[other_slot]) };
            work(first, second);
        })
    }
}

impl<R: Resources, D: Direction> std::fmt::Debug for ComputeTurn<R, D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ComputeTurn(\"{}\", frame {}, slot {})", self.shared.name, self.frame, self.slot)
    }
}
