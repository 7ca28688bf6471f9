//! [`LenderOps`]: operations that each compute side implements for an exchange.
#![allow(unsafe_code)] // Methods with contracts.

use std::sync::Arc;
use std::time::Duration;

use crate::error::Result;
use crate::exchange::work::Work;
use crate::resources::Resources;

/// A compute side's part in the frames of an exchange. [`Lender`](super::Lender) dispatches to it.
pub(in crate::exchange) trait LenderOps<R: Resources> {
    /// The side's end of the timelines, which all generations of slots share.
    type Link;
    /// The side's mappings of all slots.
    type Slots;

    fn new(link: Arc<Self::Link>, slots: Self::Slots) -> Self;

    /// Lends the resources in a slot to compute with.
    ///
    /// # Safety
    /// Until the result is gone, nothing else computes with the slot. Work enqueued with it comes
    /// after the wait for Vulkan's last use of the slot, and before the signal that Vulkan's next
    /// use waits for.
    unsafe fn work(&self, slot: usize) -> Work<'_, R>;

    /// Enqueues copies of the contents of the slots of `old` to these slots, in pairs, up to the
    /// smaller of both sizes.
    ///
    /// # Safety
    /// Nothing else uses the slots of either until the copies have ended; all earlier use precedes
    /// the copies on the compute side. Both live until then.
    unsafe fn copy_contents_from(&self, old: &Self) -> Result<()>;

    /// Makes the compute side wait for a value of `rendered`: on the GPU if it computes there,
    /// otherwise on the CPU, for at most `limit`.
    ///
    /// # Safety
    /// The value's signal was enqueued. The lender lives until the wait has completed.
    unsafe fn wait(&self, value: u64, limit: Duration) -> Result<()>;

    /// Makes the next signal cover all work on a slot, including the work of other CUDA streams and
    /// other GPUs. If the error reports a lost GPU, the work of all remaining GPUs is covered.
    fn join(&self, slot: usize) -> Result<()>;

    /// Makes the compute side signal a value of `computed`, after all its work.
    ///
    /// # Safety
    /// The values rise from call to call, and `computed` has no other signaler. The lender lives
    /// until the signal has completed.
    unsafe fn signal(&self, value: u64) -> Result<()>;

    /// Records that a turn has ended without a signal after the work that it gave to the compute
    /// side.
    fn note_unsignaled(&self);

    /// Waits, for at most `limit`, until the compute side has done the work of the exchange, whose
    /// signals have already been waited for. Returns `true` if it has.
    fn drain(&self, limit: Duration) -> Result<bool>;

    /// Lets the mappings be freed without another wait.
    ///
    /// # Safety
    /// All work that uses the slots has ended, on both sides.
    unsafe fn assume_idle(&self);
}
