//! The work of a frame on each compute side, which a compute turn lends.
#![allow(unsafe_code)] // Lends the resources that the turn owns.

pub(in crate::exchange) mod kernels;

use std::marker::PhantomData;
use std::sync::Arc;

use cuda_import::cudarc::driver::CudaStream;

use crate::compute::host::stream::HostStream;
use crate::compute::remote;
use crate::error::{Error, Result};
use crate::exchange::work::kernels::KernelWork;
use crate::resources::Resources;
#[cfg(all(target_os = "linux", feature = "remote"))]
use crate::resources::runs::Run;

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
    #[doc(hidden)]
    Remote,
}

/// A frame's work on CUDA.
///
/// For cudarc, [`resources`](Self::resources) is a kernel argument (`launch.arg(&mut
/// cuda.resources)`) and the source or destination of copies on [`stream`](Self::stream). cudarc's
/// `LaunchConfig` and `Ptx` are other types than those of this crate. With `?`, cudarc's errors
/// become [`Error::Cuda`].
#[doc = concat!("\n# Examples\n```\n", include_str!("../../../docs/cuda_work.rs"), "```")]
#[non_exhaustive]
pub struct CudaWork<'t, R: Resources> {
    /// The stream that waits for the slot and will signal it. Launch kernels that use the resources
    /// here; cudarc's copies may use any stream of the device.
    pub stream: &'t Arc<CudaStream>,
    /// The resources, as kernel arguments and as cudarc slices.
    pub resources: R::Cuda<'t>,
    /// The stream that the turn has lent, which safe code cannot replace.
    pub(in crate::exchange) lent: &'t Arc<CudaStream>,
    /// The compute stream; not `lent` while a graph is captured.
    pub(in crate::exchange) home: &'t Arc<CudaStream>,
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
    /// [`Error::InvalidArgument`] if the stream was replaced by another one, or the resources were
    /// swapped with those of another stream. Otherwise the error of the call that orders other
    /// streams' work on the resources before the launches.
    pub fn kernels(self) -> Result<KernelWork<'t, R>> {
        match self {
            Self::Cuda(cuda) => {
                check_lent(cuda.stream, cuda.lent)?;
                Ok(KernelWork::on_stream(cuda.lent, cuda.home, R::kernel(cuda.resources, cuda.home)?))
            }
            Self::Inline(inline) => Ok(inline),
            Self::Remote => Err(remote::not_local_error("the work of a frame".into())),
            Self::Host(host) => {
                // SAFETY: rule "no access outside the turn": as for closures; twins run on the same
                // thread, in the same order.
                let resources = unsafe { R::twin(&host.slots[host.slot]) };
                Ok(KernelWork::on_host(host.stream, host.slots, resources))
            }
        }
    }
}

#[cfg(all(target_os = "linux", feature = "remote"))]
impl<R: Resources> Work<'_, R> {
    /// Calls [`HostWork::run_for_each_run`].
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the work is not on the CPU; `each` is then dropped. Otherwise
    /// as [`HostWork::run`].
    pub(crate) fn run_for_each_run(&self, each: impl FnMut(Run, &mut [u8]) + Send + 'static) -> Result<()> {
        match self {
            Self::Host(host) => host.run_for_each_run(each),
            Self::Cuda(_) | Self::Inline(_) | Self::Remote => Err(Error::invalid(
                "the bytes of a frame",
                "its exchange does not compute on the CPU, where alone they can be copied; create it with \
                 `Backend::Host`",
            )),
        }
    }
}

/// Checks that the stream of a turn's work is still the one that the turn has lent. The turn orders
/// launches on no other stream.
fn check_lent(stream: &Arc<CudaStream>, lent: &Arc<CudaStream>) -> Result<()> {
    if stream == lent {
        return Ok(());
    }
    Err(Error::invalid(
        "the stream of a turn's work",
        "it was replaced by another stream, with which launches are not ordered; leave the turn's stream in place",
    ))
}

impl<R: Resources> std::fmt::Debug for Work<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cuda(cuda) => cuda.fmt(f),
            Self::Host(host) => host.fmt(f),
            Self::Inline(inline) => inline.fmt(f),
            Self::Remote => f.write_str("Remote"),
        }
    }
}

impl<R: Resources> std::fmt::Debug for CudaWork<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CudaWork").field("stream", self.stream).finish_non_exhaustive()
    }
}

impl<R: Resources> std::fmt::Debug for HostWork<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostWork").field("slot", &self.slot).finish_non_exhaustive()
    }
}

impl<'t, R: Resources> HostWork<'t, R> {
    pub(in crate::exchange) fn new(stream: &'t HostStream, slots: &'t Arc<[R::HostSlot]>, slot: usize) -> Self {
        Self { stream, slots, slot, turn: PhantomData }
    }

    /// Enqueues a closure that gets the resources: a slice for a buffer, a
    /// [`HostImageMut`](crate::HostImageMut) for an image, a tuple for a tuple, and an iterator for
    /// a `Vec`. It runs on the CPU backend's thread, after earlier work and after Vulkan is done
    /// with the slot. Closures run one at a time.
    ///
    /// # Errors
    /// [`Error::HostFailed`] if an earlier closure panicked, or Vulkan did not finish with a slot
    /// in time.
    pub fn run(&self, work: impl for<'a> FnOnce(R::Host<'a>) + Send + 'static) -> Result<()> {
        let (slots, slot) = (Arc::clone(self.slots), self.slot);
        self.stream.run(move || {
            // SAFETY: the turn that enqueued this closure holds the slot until its signal, which
            // follows the closure in the queue; Vulkan's last use precedes the closure because of
            // the turn's wait; closures run one at a time.
            work(unsafe { R::host(&slots[slot]) });
        })
    }

    /// [`run`](Self::run) with the bytes of the resources, as `Share::bytes` passes them.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    #[cfg(all(target_os = "linux", feature = "remote"))]
    pub(crate) fn run_for_each_run(&self, mut each: impl FnMut(Run, &mut [u8]) + Send + 'static) -> Result<()> {
        let (slots, slot) = (Arc::clone(self.slots), self.slot);
        // SAFETY: as in `run`.
        self.stream.run(move || unsafe { R::bytes(&slots[slot], &mut each) })
    }

    /// [`run`](Self::run) with the resources of two turns, of two exchanges on the same
    /// [`Compute`](crate::Compute). Both are borrowed exclusively, so they are different slots.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the two are on different compute sides, otherwise as
    /// [`run`](Self::run).
    pub fn run_with<S: Resources>(
        &mut self,
        other: &mut HostWork<'_, S>,
        work: impl for<'a> FnOnce(R::Host<'a>, S::Host<'a>) + Send + 'static,
    ) -> Result<()> {
        if !self.stream.is_same(other.stream) {
            return Err(Error::invalid(
                "host work of two turns",
                "their exchanges are on different compute sides; make both with the same `Compute`",
            ));
        }
        let (mine, my_slot) = (Arc::clone(self.slots), self.slot);
        let (others, other_slot) = (Arc::clone(other.slots), other.slot);
        self.stream.run(move || {
            // SAFETY: as in `run`; the waits of both turns precede this closure in the same queue,
            // and their signals follow it.
            let first = unsafe { R::host(&mine[my_slot]) };
            // SAFETY: as above; a turn lends one `HostWork` at a time and both are borrowed
            // exclusively, so they are different slots.
            let second = unsafe { S::host(&others[other_slot]) };
            work(first, second);
        })
    }
}
