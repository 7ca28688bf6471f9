//! The CPU as the compute side of an exchange.
#![allow(unsafe_code)] // Copies the contents of slots.

use std::sync::Arc;
use std::time::Duration;

use crate::compute::host::HostLink;
use crate::error::Result;
use crate::exchange::slots::lender::ops::LenderOps;
use crate::exchange::work::{HostWork, Work};
use crate::resources::Resources;

/// Objects of an exchange that the CPU holds.
pub(in crate::exchange) struct OnHost<R: Resources> {
    /// Shared with the closures that are enqueued.
    slots: Arc<[R::HostSlot]>,
    pub(super) link: Arc<HostLink>,
}

impl<R: Resources> LenderOps<R> for OnHost<R> {
    type Link = HostLink;
    type Slots = Vec<R::HostSlot>;

    fn new(link: Arc<HostLink>, slots: Vec<R::HostSlot>) -> Self {
        Self { slots: slots.into(), link }
    }

    unsafe fn work(&self, slot: usize) -> Work<'_, R> {
        Work::Host(HostWork::new(self.link.stream(), &self.slots, slot))
    }

    unsafe fn copy_contents_from(&self, old: &Self) -> Result<()> {
        let (to, from) = (Arc::clone(&self.slots), Arc::clone(&old.slots));
        self.link.stream().run(move || {
            for (new, old) in to.iter().zip(from.iter()) {
                // SAFETY: upheld by the caller of `copy_contents_from`; closures run one at a time.
                unsafe { R::copy_contents_on_host(old, new) };
            }
        })
    }

    unsafe fn wait(&self, value: u64, limit: Duration) -> Result<()> {
        self.link.wait(value, limit)
    }

    // Closures run one after the other, before the signal.
    fn join(&self, _: usize) -> Result<()> {
        Ok(())
    }

    unsafe fn signal(&self, value: u64) -> Result<()> {
        self.link.signal(value)
    }

    fn note_unsignaled(&self) {
        self.link.note_unsignaled();
    }

    fn drain(&self, limit: Duration) -> Result<bool> {
        Ok(self.link.drain(limit))
    }

    // These mappings are freed without a wait.
    unsafe fn assume_idle(&self) {}
}
