//! The lifetime of a mapping of any kind: ordered between streams, released after its use has
//! ended, and leaked if that cannot be determined.
//!
//! Contains unsafe code because releasing a mapping requires that its use has ended.
#![allow(unsafe_code)]

use std::sync::Arc;

use crate::error::{Object, Result};
use crate::leak::count_leak;
use crate::logging::log_error;
use crate::memory::ImportedMemory;
use crate::memory::device_orders::DeviceOrders;
use crate::stream::order::StreamOrder;

/// A mapping that can be released.
pub(crate) trait Backing {
    fn memory(&self) -> &Arc<ImportedMemory>;

    /// Returns its name for errors.
    fn object(&self) -> Object<'_>;

    /// Releases the mapping. Called once, unless [`leak`](Self::leak) is called.
    ///
    /// # Safety
    /// All work that uses it has ended, and no more will follow.
    unsafe fn release(&mut self) -> Result<()>;

    /// Leaks the mapping and the memory that contains it. Called after [`release`](Self::release)
    /// only if that failed.
    fn leak(&mut self);
}

/// A mapping with its stream order. Dropping it releases it, or logs why it was not released.
#[derive(Debug)]
pub(crate) struct Mapping<B: Backing> {
    /// `false` once it was released or leaked.
    live: bool,
    /// Its events and streams must be dropped after the mapping, which `drop` releases.
    orders: DeviceOrders,
    backing: B,
}

impl<B: Backing> Mapping<B> {
    pub(crate) fn new(backing: B, orders: impl Into<DeviceOrders>) -> Self {
        Self { live: true, orders: orders.into(), backing }
    }

    pub(crate) fn backing(&self) -> &B {
        &self.backing
    }

    /// Returns the order of the first device.
    pub(crate) fn order(&self) -> &StreamOrder {
        self.orders.first()
    }

    /// Returns the order of each device.
    pub(crate) fn orders(&self) -> &DeviceOrders {
        &self.orders
    }

    /// Returns `true` if a home stream does not wait yet for work on other streams of its device
    /// that used the mapping.
    #[inline]
    pub(crate) fn has_foreign_work(&self) -> bool {
        self.orders.has_foreign_work()
    }

    /// Makes each home stream wait for work on other streams of its device that used the mapping.
    /// Continues after an error: if the error is a lost context, the other home streams do wait.
    pub(crate) fn join(&self) -> Result<()> {
        self.orders.iter().map(StreamOrder::join).fold(Ok(()), first_error)
    }

    /// Same as [`join`](Self::join) on one device. Does nothing if the mapping has no home stream
    /// there.
    pub(crate) fn join_at(&self, place: usize) -> Result<()> {
        let order = self.orders.get(place).filter(|order| order.has_foreign_work());
        order.map_or(Ok(()), StreamOrder::join)
    }

    /// Declares that releasing need not wait, until the mapping is used again.
    ///
    /// # Safety
    /// All work that uses it has ended.
    pub(crate) unsafe fn assume_idle(&self) {
        // SAFETY: guaranteed by the caller.
        self.orders.iter().for_each(|order| unsafe { order.assume_idle() });
    }

    /// Does the same as dropping, and returns the error.
    pub(crate) fn close(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        self.live = false;
        let ended = self.orders.iter().try_for_each(|order| order.wait_for_end(&self.backing.object()));
        let ended = ended.and_then(|()| {
            // SAFETY: the home streams and the foreign streams have ended their work, and no view
            // is alive, because views borrow the owner.
            unsafe { self.backing.release() }
        });
        ended.inspect_err(|_| {
            self.backing.leak();
            count_leak();
        })
    }
}

/// Returns the first error, or the second if the first is a lost context.
fn first_error(first: Result<()>, second: Result<()>) -> Result<()> {
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
