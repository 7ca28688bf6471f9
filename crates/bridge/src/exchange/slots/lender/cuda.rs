//! CUDA as the compute side of an exchange.
#![allow(unsafe_code)] // Waits, signals and copies, and lends the resources that the turn owns.

use std::sync::Arc;
use std::time::Duration;

use cuda_import::any_foreign_streams;
use cuda_import::cudarc::driver::CudaStream;

use crate::compute::cuda::CudaLink;
use crate::error::{Result, first_error};
use crate::exchange::slots::lender::ops::LenderOps;
use crate::exchange::work::{CudaWork, Work};
use crate::resources::Resources;

/// Objects of an exchange that CUDA holds.
pub(in crate::exchange) struct OnCuda<R: Resources> {
    pub(in crate::exchange) slots: Box<[R::CudaSlot]>,
    pub(in crate::exchange) link: Arc<CudaLink>,
}

impl<R: Resources> OnCuda<R> {
    /// Lends the resources in a slot for work on `stream`: the compute stream, or one that captures
    /// work to be launched there.
    ///
    /// # Safety
    /// As [`LenderOps::work`].
    pub(in crate::exchange) unsafe fn work_on<'t>(&'t self, slot: usize, stream: &'t Arc<CudaStream>) -> Work<'t, R> {
        // SAFETY: rule "no access outside the turn": exclusive and ordered by this function's
        // contract.
        let resources = unsafe { R::cuda(&self.slots[slot]) };
        Work::Cuda(CudaWork { stream, resources, lent: stream, home: self.link.stream() })
    }
}

impl<R: Resources> LenderOps<R> for OnCuda<R> {
    type Link = CudaLink;
    type Slots = Vec<R::CudaSlot>;

    fn new(link: Arc<CudaLink>, slots: Vec<R::CudaSlot>) -> Self {
        Self { slots: slots.into(), link }
    }

    unsafe fn work(&self, slot: usize) -> Work<'_, R> {
        // SAFETY: upheld by the caller.
        unsafe { self.work_on(slot, self.link.stream()) }
    }

    unsafe fn copy_contents_from(&self, old: &Self) -> Result<()> {
        for (new, old) in self.slots.iter().zip(&old.slots) {
            // SAFETY: upheld by the caller.
            unsafe { R::copy_contents_on_cuda(old, new) }?;
        }
        Ok(())
    }

    unsafe fn wait(&self, value: u64, _: Duration) -> Result<()> {
        // SAFETY: upheld by the caller.
        unsafe { self.link.wait(value) }
    }

    fn join(&self, slot: usize) -> Result<()> {
        let (slot, gpus) = (&self.slots[slot], self.link.gpus());
        // The usual case, which makes no driver call. If no foreign stream was ever used, this is
        // one load, however many resources there are.
        if gpus.len() == 1 && !(any_foreign_streams() && R::has_foreign_work(slot)) {
            return Ok(());
        }
        first_error(R::join(slot), gpus.join())
    }

    unsafe fn signal(&self, value: u64) -> Result<()> {
        // SAFETY: upheld by the caller.
        unsafe { self.link.signal(value) }
    }

    // All work of CUDA is waited for in any case.
    fn note_unsignaled(&self) {}

    // Includes all work of the streams: the driver frees a mapping only once no stream of the
    // context waits.
    fn drain(&self, limit: Duration) -> Result<bool> {
        self.link.gpus().drain(limit)
    }

    unsafe fn assume_idle(&self) {
        // SAFETY: upheld by the caller.
        self.slots.iter().for_each(|slot| unsafe { R::assume_idle(slot) });
    }
}
