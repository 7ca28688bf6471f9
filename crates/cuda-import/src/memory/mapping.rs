//! The life of a mapping, whatever is mapped: put in order between streams, released once its use
//! has ended, and given up where that cannot be seen.
//!
//! Unsafe because releasing a mapping needs proof that its use has ended.
#![allow(unsafe_code)]

use std::sync::Arc;

use crate::error::{Object, Result};
use crate::leak::count_leak;
use crate::logging::log_error;
use crate::memory::ImportedMemory;
use crate::stream::order::StreamOrder;
use crate::stream::order::several::Orders;

/// Mapping, and how it is undone.
pub(crate) trait Backing {
    fn memory(&self) -> &Arc<ImportedMemory>;

    /// Names it in errors.
    fn object(&self) -> Object<'_>;

    /// Undoes the mapping. Called once, unless [`keep`](Self::keep) is.
    ///
    /// # Safety
    /// All work that uses it has ended, and no more will follow.
    unsafe fn release(&mut self) -> Result<()>;

    /// Keeps what is mapped, and all that it lies in, for good. After [`release`](Self::release)
    /// only where that failed.
    fn keep(&mut self);
}

/// A mapping with its order. Dropping it releases it, or logs why it did not.
#[derive(Debug)]
pub(crate) struct Mapping<B: Backing> {
    /// False once it has been released or given up.
    live: bool,
    /// Its events and streams go after what is mapped, which `drop` releases.
    orders: Orders,
    backing: B,
}

impl<B: Backing> Mapping<B> {
    pub(crate) fn new(backing: B, orders: impl Into<Orders>) -> Self {
        Self { live: true, orders: orders.into(), backing }
    }

    pub(crate) fn backing(&self) -> &B {
        &self.backing
    }

    /// On the first device.
    pub(crate) fn order(&self) -> &StreamOrder {
        self.orders.first()
    }

    /// On each device.
    pub(crate) fn orders(&self) -> &Orders {
        &self.orders
    }

    /// Returns `true` if a home stream does not wait yet for something that other streams of its
    /// device did with it.
    #[inline]
    pub(crate) fn has_foreign_work(&self) -> bool {
        self.orders.has_foreign_work()
    }

    /// Makes each home stream wait for what other streams of its device did with it. Whatever
    /// fails, the others are tried: an error of a lost context means that those of all others wait.
    pub(crate) fn join(&self) -> Result<()> {
        self.orders.iter().map(StreamOrder::join).fold(Ok(()), both)
    }

    /// The same on one device. Nothing where the object is not lent to it.
    pub(crate) fn join_at(&self, place: usize) -> Result<()> {
        let order = self.orders.get(place).filter(|order| order.has_foreign_work());
        order.map_or(Ok(()), StreamOrder::join)
    }

    /// All work that uses it has ended, and so releasing it need not wait, until it is used again.
    ///
    /// # Safety
    /// It has.
    pub(crate) unsafe fn assume_idle(&self) {
        // SAFETY: the caller says so.
        self.orders.iter().for_each(|order| unsafe { order.assume_idle() });
    }

    /// Does what dropping does, and returns the error.
    pub(crate) fn close(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        self.live = false;
        let ended = self.orders.iter().try_for_each(|order| order.wait_for_end(&self.backing.object()));
        let ended = ended.and_then(|()| {
            // SAFETY: the home streams and the guests have ended their work, no view lives any more
            // since all borrow the owner.
            unsafe { self.backing.release() }
        });
        ended.inspect_err(|_| {
            self.backing.keep();
            count_leak();
        })
    }
}

/// A lost context is named only where nothing else failed.
fn both(first: Result<()>, second: Result<()>) -> Result<()> {
    match (first, second) {
        (Ok(()), other) | (other, Ok(())) => other,
        (Err(first), Err(second)) => Err(if first.is_context_lost() { second } else { first }),
    }
}

impl<B: Backing> Drop for Mapping<B> {
    fn drop(&mut self) {
        if self.live
            && let Err(error) = self.end()
        {
            log_error!("{error}");
        }
    }
}
