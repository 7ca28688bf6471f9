//! The compute side's part in the frames of an exchange: its mappings of the slots, and its end of the timelines.
#![allow(unsafe_code)] // Waits and signals.

use std::sync::Arc;
use std::time::Duration;

use super::resources::Resources;
use crate::compute::cuda::CudaLink;
use crate::compute::host::HostLink;
use crate::compute::side::{Link, Sided};
use crate::error::Result;

/// What a compute side holds of an exchange.
pub(super) type Lender<R> = Sided<OnCuda<R>, OnHost<R>>;

/// What CUDA holds of an exchange.
pub(super) struct OnCuda<R: Resources> {
    pub(super) slots: Box<[R::CudaSlot]>,
    pub(super) link: CudaLink,
}

/// What the CPU holds of an exchange.
pub(super) struct OnHost<R: Resources> {
    /// Shared with the closures that are enqueued.
    pub(super) slots: Arc<[R::HostSlot]>,
    pub(super) link: HostLink,
}

impl<R: Resources> Lender<R> {
    /// # Errors
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if the slots are mapped by another side than the link's.
    pub(super) fn new(link: Link, slots: Vec<Sided<R::CudaSlot, R::HostSlot>>) -> Result<Self> {
        let slots = slots.into_iter();
        Ok(match link {
            Sided::Cuda(link) => {
                Self::Cuda(OnCuda { link, slots: slots.map(Sided::into_cuda).collect::<Result<_>>()? })
            }
            Sided::Host(link) => {
                Self::Host(OnHost { link, slots: slots.map(Sided::into_host).collect::<Result<_>>()? })
            }
        })
    }

    /// Lets the compute side wait, on the GPU where it computes there, for a value of `rendered`; for at most `limit` on
    /// the CPU.
    ///
    /// # Safety
    /// The value's signal was enqueued. The lender lives until the wait has completed.
    pub(super) unsafe fn wait(&self, value: u64, limit: Duration) -> Result<()> {
        match self {
            // SAFETY: handed on to the caller.
            Self::Cuda(cuda) => unsafe { cuda.link.wait(value) },
            Self::Host(host) => host.link.wait(value, limit),
        }
    }

    /// Makes the next signal cover all work with a slot, that of other CUDA streams included.
    pub(super) fn join(&self, slot: usize) -> Result<()> {
        match self {
            Self::Cuda(cuda) => R::join(&cuda.slots[slot]),
            Self::Host(_) => Ok(()),
        }
    }

    /// Lets the compute side signal a value of `computed`, behind all its work.
    ///
    /// # Safety
    /// The values rise from call to call, and nobody else signals `computed`. The lender lives until the signal has
    /// completed.
    pub(super) unsafe fn signal(&self, value: u64) -> Result<()> {
        match self {
            // SAFETY: handed on to the caller.
            Self::Cuda(cuda) => unsafe { cuda.link.signal(value) },
            Self::Host(host) => host.link.signal(value),
        }
    }

    /// Lets the mappings be freed without another wait.
    ///
    /// # Safety
    /// All work that uses the slots has ended, on both sides.
    pub(super) unsafe fn assume_idle(&self) {
        match self {
            // SAFETY: handed on to the caller.
            Self::Cuda(cuda) => cuda.slots.iter().for_each(|slot| unsafe { R::assume_idle(slot) }),
            Self::Host(_) => {}
        }
    }
}
