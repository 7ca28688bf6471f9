//! Kernels in command buffers as the compute side of an exchange.
#![allow(unsafe_code)] // Signals and copies, and lends the resources that the turn owns.

use std::sync::Arc;
use std::time::Duration;

use crate::compute::inline::InlineLink;
use crate::error::Result;
use crate::exchange::slots::lender::ops::LenderOps;
use crate::exchange::work::Work;
use crate::exchange::work::kernels::KernelWork;
use crate::resources::Resources;

/// Objects of an exchange that kernels in command buffers hold.
pub(in crate::exchange) struct OnQueue<R: Resources> {
    slots: Box<[R::InlineSlot]>,
    pub(super) link: Arc<InlineLink>,
}

impl<R: Resources> LenderOps<R> for OnQueue<R> {
    type Link = InlineLink;
    type Slots = Vec<R::InlineSlot>;

    fn new(link: Arc<InlineLink>, slots: Vec<R::InlineSlot>) -> Self {
        Self { slots: slots.into(), link }
    }

    unsafe fn work(&self, slot: usize) -> Work<'_, R> {
        // SAFETY: rule "no access outside the turn": exclusive and ordered by this function's
        // contract; the queue's order and the barriers replace the stream's wait and signal.
        let resources = unsafe { R::inline(&self.slots[slot]) };
        Work::Inline(KernelWork::on_queue(self.link.stream(), resources))
    }

    unsafe fn copy_contents_from(&self, old: &Self) -> Result<()> {
        let mut copies = Vec::new();
        for (new, old) in self.slots.iter().zip(&old.slots) {
            R::copy_contents_on_queue(old, new, &mut copies);
        }
        // SAFETY: upheld by the caller; buffers of this backend may be the source and target of
        // copies.
        unsafe { self.link.stream().copy([], &copies) }
    }

    // The next submission follows the signal on the same queue, and the submission with the signal
    // contains the release barrier.
    unsafe fn wait(&self, _: u64, _: Duration) -> Result<()> {
        Ok(())
    }

    // All work is recorded in one stream, before the signal.
    fn join(&self, _: usize) -> Result<()> {
        Ok(())
    }

    unsafe fn signal(&self, value: u64) -> Result<()> {
        // SAFETY: upheld by the caller.
        unsafe { self.link.signal(value) }
    }

    fn note_unsignaled(&self) {
        self.link.note_unsignaled();
    }

    fn drain(&self, limit: Duration) -> Result<bool> {
        self.link.drain(limit)
    }

    // These mappings are freed without a wait.
    unsafe fn assume_idle(&self) {}
}
