//! The compute side's part in the frames of an exchange: its mappings of the slots, and its end of
//! the timelines.
//!
//! Each side implements [`LenderOps`] in the file of its name.
#![allow(unsafe_code)] // Passes safety contracts on to the caller.

mod cuda;
mod host;
mod inline;
mod ops;
mod remote;

use std::sync::{Arc, Weak};
use std::time::Duration;

pub(in crate::exchange) use self::cuda::OnCuda;
use self::host::OnHost;
use self::inline::OnQueue;
use self::ops::LenderOps;
use self::remote::OnRemote;
use crate::compute::cuda::CudaLink;
use crate::compute::host::HostLink;
use crate::compute::inline::InlineLink;
use crate::compute::per_backend::{PerBackend, map_backend, with_backend};
use crate::compute::side::Link;
use crate::error::Result;
use crate::exchange::work::Work;
use crate::resources::{Mappings, Resources};

/// Objects of an exchange that a compute side holds.
pub(in crate::exchange) type Lender<R> = PerBackend<OnCuda<R>, OnHost<R>, OnQueue<R>, OnRemote<R>>;

/// A link that all generations of slots share.
type SharedLink = PerBackend<Arc<CudaLink>, Arc<HostLink>, Arc<InlineLink>, Arc<HostLink>>;

impl<R: Resources> Lender<R> {
    /// # Errors
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if the slots were mapped by a side
    /// other than the link's.
    pub(in crate::exchange) fn new(link: Link, slots: Vec<Mappings<R>>) -> Result<Self> {
        Self::with_link(map_backend!(link, link => Arc::new(link)), slots)
    }

    /// Creates the objects for other slots, with the same link.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub(in crate::exchange) fn renew(&self, slots: Vec<Mappings<R>>) -> Result<Self> {
        Self::with_link(map_backend!(self, side => Arc::clone(&side.link)), slots)
    }

    /// Creates the objects for new timelines of the next process; this process maps nothing.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if the link is one of this
    /// process's sides.
    #[cfg(all(target_os = "linux", feature = "remote"))]
    pub(in crate::exchange) fn new_remote(link: Link) -> Result<Self> {
        Self::new(PerBackend::Remote(link.into_remote()?), Vec::new())
    }

    fn with_link(link: SharedLink, slots: Vec<Mappings<R>>) -> Result<Self> {
        let slots = link.gather(slots)?;
        Ok(map_backend!(link.zip(slots)?, (link, slots) => LenderOps::new(link, slots)))
    }

    /// See [`LenderOps::work`].
    ///
    /// # Safety
    /// As there.
    pub(in crate::exchange) unsafe fn work(&self, slot: usize) -> Work<'_, R> {
        // SAFETY: upheld by the caller.
        with_backend!(self, side => unsafe { side.work(slot) })
    }

    /// See [`LenderOps::copy_contents_from`].
    ///
    /// # Errors
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if the two belong to different
    /// kinds of compute side; otherwise the errors of the copies.
    ///
    /// # Safety
    /// As there.
    pub(in crate::exchange) unsafe fn copy_contents_from(&self, old: &Self) -> Result<()> {
        let both = self.as_ref().zip(old.as_ref())?;
        // SAFETY: upheld by the caller.
        with_backend!(both, (new, old) => unsafe { new.copy_contents_from(old) })
    }

    /// See [`LenderOps::wait`].
    ///
    /// # Safety
    /// As there.
    pub(in crate::exchange) unsafe fn wait(&self, value: u64, limit: Duration) -> Result<()> {
        // SAFETY: upheld by the caller.
        with_backend!(self, side => unsafe { side.wait(value, limit) })
    }

    /// See [`LenderOps::join`].
    pub(in crate::exchange) fn join(&self, slot: usize) -> Result<()> {
        with_backend!(self, side => side.join(slot))
    }

    /// See [`LenderOps::signal`].
    ///
    /// # Safety
    /// As there.
    pub(in crate::exchange) unsafe fn signal(&self, value: u64) -> Result<()> {
        // SAFETY: upheld by the caller.
        with_backend!(self, side => unsafe { side.signal(value) })
    }

    /// Returns CUDA's end of the timelines, or an empty reference for other sides.
    pub(in crate::exchange) fn cuda_link(&self) -> Weak<CudaLink> {
        self.cuda().map_or_else(Weak::new, |cuda| Arc::downgrade(&cuda.link))
    }

    /// See [`LenderOps::note_unsignaled`].
    pub(in crate::exchange) fn note_unsignaled(&self) {
        with_backend!(self, side => side.note_unsignaled());
    }

    /// See [`LenderOps::drain`].
    pub(in crate::exchange) fn drain(&self, limit: Duration) -> Result<bool> {
        with_backend!(self, side => side.drain(limit))
    }

    /// See [`LenderOps::assume_idle`].
    ///
    /// # Safety
    /// As there.
    pub(in crate::exchange) unsafe fn assume_idle(&self) {
        // SAFETY: upheld by the caller.
        with_backend!(self, side => unsafe { side.assume_idle() });
    }
}
