//! The compute side's part in the frames of an exchange: its mappings of the slots, and its end of
//! the timelines.
#![allow(unsafe_code)] // Waits and signals.

use std::sync::{Arc, Weak};
use std::time::Duration;

use cuda_import::any_foreign_streams;

use crate::compute::cuda::CudaLink;
use crate::compute::host::HostLink;
use crate::compute::inline::InlineLink;
use crate::compute::per_backend::PerBackend;
use crate::compute::side::Link;
use crate::error::{Result, first_error};
use crate::exchange::resources::{Mappings, Resources};

/// Objects of an exchange that a compute side holds.
pub(in crate::exchange) type Lender<R> = PerBackend<OnCuda<R>, OnHost<R>, OnQueue<R>, OnRemote>;

/// Objects of an exchange that CUDA holds.
pub(in crate::exchange) struct OnCuda<R: Resources> {
    pub(in crate::exchange) slots: Box<[R::CudaSlot]>,
    /// Link that all generations of slots share.
    pub(in crate::exchange) link: Arc<CudaLink>,
}

/// Objects of an exchange that the CPU holds.
pub(in crate::exchange) struct OnHost<R: Resources> {
    /// Shared with the closures that are enqueued.
    pub(in crate::exchange) slots: Arc<[R::HostSlot]>,
    /// Link that all generations of slots share.
    pub(in crate::exchange) link: Arc<HostLink>,
}

/// Objects of an exchange that kernels in command buffers hold.
pub(in crate::exchange) struct OnQueue<R: Resources> {
    pub(in crate::exchange) slots: Box<[R::InlineSlot]>,
    /// Link that all generations of slots share.
    pub(in crate::exchange) link: Arc<InlineLink>,
}

/// This process's part of an exchange whose compute side is another process: the host waits and
/// signals, and maps nothing.
pub(in crate::exchange) struct OnRemote {
    /// Link that all generations of slots share.
    link: Arc<HostLink>,
}

impl<R: Resources> Lender<R> {
    /// # Errors
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if the slots were mapped by a side
    /// other than the link's.
    pub(in crate::exchange) fn new(link: Link, slots: Vec<Mappings<R>>) -> Result<Self> {
        match link {
            PerBackend::Cuda(link) => Self::on_cuda(Arc::new(link), slots),
            PerBackend::Host(link) => Self::on_host(Arc::new(link), slots),
            PerBackend::Inline(link) => Self::on_queue(Arc::new(link), slots),
            PerBackend::Remote(link) => Self::on_remote(Arc::new(link), slots),
        }
    }

    /// Creates the objects for other slots, with the same link.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub(in crate::exchange) fn renew(&self, slots: Vec<Mappings<R>>) -> Result<Self> {
        match self {
            Self::Cuda(cuda) => Self::on_cuda(Arc::clone(&cuda.link), slots),
            Self::Host(host) => Self::on_host(Arc::clone(&host.link), slots),
            Self::Inline(inline) => Self::on_queue(Arc::clone(&inline.link), slots),
            Self::Remote(remote) => Self::on_remote(Arc::clone(&remote.link), slots),
        }
    }

    /// Creates the objects for new timelines of the next process; this process maps nothing.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    #[cfg(all(target_os = "linux", feature = "remote"))]
    pub(in crate::exchange) fn new_remote(link: Link) -> Result<Self> {
        Self::on_remote(Arc::new(link.into_remote()?), Vec::new())
    }

    fn on_cuda(link: Arc<CudaLink>, slots: Vec<Mappings<R>>) -> Result<Self> {
        let slots = slots.into_iter().map(PerBackend::into_cuda).collect::<Result<_>>()?;
        Ok(Self::Cuda(OnCuda { slots, link }))
    }

    fn on_host(link: Arc<HostLink>, slots: Vec<Mappings<R>>) -> Result<Self> {
        let slots = slots.into_iter().map(PerBackend::into_host).collect::<Result<_>>()?;
        Ok(Self::Host(OnHost { slots, link }))
    }

    fn on_queue(link: Arc<InlineLink>, slots: Vec<Mappings<R>>) -> Result<Self> {
        let slots = slots.into_iter().map(PerBackend::into_inline).collect::<Result<_>>()?;
        Ok(Self::Inline(OnQueue { slots, link }))
    }

    fn on_remote(link: Arc<HostLink>, slots: Vec<Mappings<R>>) -> Result<Self> {
        for slot in slots {
            slot.into_remote()?;
        }
        Ok(Self::Remote(OnRemote { link }))
    }

    /// Enqueues copies of the contents of the slots of `old` to these slots, in pairs, up to the
    /// smaller of both sizes.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if the two belong to different
    /// kinds of compute side; otherwise the errors of the copies.
    ///
    /// # Safety
    /// Nothing else uses the slots of either until the copies have ended; all earlier use precedes
    /// the copies on the compute side. Both live until then.
    pub(in crate::exchange) unsafe fn copy_contents_from(&self, old: &Self) -> Result<()> {
        match (self, old) {
            (Self::Cuda(new), Self::Cuda(old)) => {
                for (new, old) in new.slots.iter().zip(&old.slots) {
                    // SAFETY: upheld by the caller.
                    unsafe { R::copy_contents_on_cuda(old, new) }?;
                }
                Ok(())
            }
            (Self::Host(new), Self::Host(old)) => {
                let (to, from) = (Arc::clone(&new.slots), Arc::clone(&old.slots));
                new.link.stream().run(move || {
                    for (new, old) in to.iter().zip(from.iter()) {
                        // SAFETY: upheld by the caller of `copy_contents_from`; closures run one at
                        // a time.
                        unsafe { R::copy_contents_on_host(old, new) };
                    }
                })
            }
            (Self::Inline(new), Self::Inline(old)) => {
                let mut copies = Vec::new();
                new.slots
                    .iter()
                    .zip(&old.slots)
                    .for_each(|(new, old)| R::copy_contents_on_queue(old, new, &mut copies));
                // SAFETY: upheld by the caller; buffers of this backend may be the source and
                // target of copies.
                unsafe { new.link.stream().copy([], &copies) }
            }
            // Both belong to another process, so nothing is mapped here.
            (Self::Remote(_), Self::Remote(_)) => Ok(()),
            (new, old) => Err(new.mismatch(old)),
        }
    }

    /// Makes the compute side wait for a value of `rendered`: on the GPU if it computes there,
    /// otherwise on the CPU, for at most `limit`.
    ///
    /// # Safety
    /// The value's signal was enqueued. The lender lives until the wait has completed.
    pub(in crate::exchange) unsafe fn wait(&self, value: u64, limit: Duration) -> Result<()> {
        match self {
            // SAFETY: upheld by the caller.
            Self::Cuda(cuda) => unsafe { cuda.link.wait(value) },
            Self::Host(host) => host.link.wait(value, limit),
            Self::Remote(remote) => remote.link.wait(value, limit),
            // The next submission follows the signal on the same queue, and the submission with the
            // signal contains the release barrier.
            Self::Inline(_) => Ok(()),
        }
    }

    /// Makes the next signal cover all work on a slot, including the work of other CUDA streams and
    /// other GPUs. If the error reports a lost GPU, the work of all remaining GPUs is covered.
    pub(in crate::exchange) fn join(&self, slot: usize) -> Result<()> {
        match self {
            Self::Cuda(cuda) => {
                let (slot, gpus) = (&cuda.slots[slot], cuda.link.gpus());
                // The usual case, which makes no driver call. If no foreign stream was ever used,
                // this is one load, however many resources there are.
                if gpus.len() == 1 && !(any_foreign_streams() && R::has_foreign_work(slot)) {
                    return Ok(());
                }
                first_error(R::join(slot), gpus.join())
            }
            Self::Host(_) | Self::Inline(_) | Self::Remote(_) => Ok(()),
        }
    }

    /// Makes the compute side signal a value of `computed`, after all its work.
    ///
    /// # Safety
    /// The values rise from call to call, and `computed` has no other signaler. The lender lives
    /// until the signal has completed.
    pub(in crate::exchange) unsafe fn signal(&self, value: u64) -> Result<()> {
        match self {
            // SAFETY: upheld by the caller.
            Self::Cuda(cuda) => unsafe { cuda.link.signal(value) },
            Self::Host(host) => host.link.signal(value),
            Self::Remote(remote) => remote.link.signal(value),
            // SAFETY: upheld by the caller.
            Self::Inline(inline) => unsafe { inline.link.signal(value) },
        }
    }

    /// Returns CUDA's end of the timelines, or an empty reference for other sides.
    pub(in crate::exchange) fn cuda_link(&self) -> Weak<CudaLink> {
        match self {
            Self::Cuda(cuda) => Arc::downgrade(&cuda.link),
            Self::Host(_) | Self::Inline(_) | Self::Remote(_) => Weak::new(),
        }
    }

    /// Records that a turn has ended without a signal after the work that it gave to the compute
    /// side.
    pub(in crate::exchange) fn note_unsignaled(&self) {
        match self {
            // All work of CUDA is waited for in any case.
            Self::Cuda(_) => {}
            Self::Host(host) => host.link.note_unsignaled(),
            Self::Remote(remote) => remote.link.note_unsignaled(),
            Self::Inline(inline) => inline.link.note_unsignaled(),
        }
    }

    /// Waits, for at most `limit`, until the compute side has done the work of the exchange, whose
    /// signals have already been waited for. Returns `true` if it has. With CUDA this includes all
    /// work of its streams: the driver frees a mapping only once no stream of the context waits.
    pub(in crate::exchange) fn drain(&self, limit: Duration) -> Result<bool> {
        match self {
            Self::Cuda(cuda) => cuda.link.gpus().drain(limit),
            Self::Host(host) => Ok(host.link.drain(limit)),
            Self::Remote(remote) => Ok(remote.link.drain(limit)),
            Self::Inline(inline) => inline.link.drain(limit),
        }
    }

    /// Lets the mappings be freed without another wait.
    ///
    /// # Safety
    /// All work that uses the slots has ended, on both sides.
    pub(in crate::exchange) unsafe fn assume_idle(&self) {
        match self {
            // SAFETY: upheld by the caller.
            Self::Cuda(cuda) => cuda.slots.iter().for_each(|slot| unsafe { R::assume_idle(slot) }),
            Self::Host(_) | Self::Inline(_) | Self::Remote(_) => {}
        }
    }
}
