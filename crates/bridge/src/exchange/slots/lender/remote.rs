//! Another process as the compute side of an exchange: the host waits and signals for it, and maps
//! nothing.
#![allow(unsafe_code)] // Methods with contracts.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use crate::compute::host::HostLink;
use crate::compute::per_backend::Unmapped;
use crate::error::Result;
use crate::exchange::slots::lender::ops::LenderOps;
use crate::exchange::work::Work;
use crate::resources::Resources;

/// Objects of an exchange that the host holds for another process.
pub(in crate::exchange) struct OnRemote<R> {
    pub(super) link: Arc<HostLink>,
    resources: PhantomData<fn() -> R>,
}

impl<R: Resources> LenderOps<R> for OnRemote<R> {
    type Link = HostLink;
    type Slots = Unmapped;

    fn new(link: Arc<HostLink>, Unmapped: Unmapped) -> Self {
        Self { link, resources: PhantomData }
    }

    unsafe fn work(&self, _: usize) -> Work<'_, R> {
        Work::Remote
    }

    // Both belong to another process, so nothing is mapped here.
    unsafe fn copy_contents_from(&self, _: &Self) -> Result<()> {
        Ok(())
    }

    unsafe fn wait(&self, value: u64, limit: Duration) -> Result<()> {
        self.link.wait(value, limit)
    }

    // This process enqueues no work of the compute side.
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

    // Nothing is mapped.
    unsafe fn assume_idle(&self) {}
}
