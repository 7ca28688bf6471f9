//! Turns of the compute side that write a frame.
#![allow(unsafe_code)] // Lends the resources that the turn owns.

use std::sync::Arc;

use super::shared::Shared;
use crate::error::Result;
use crate::exchange::turn::lease::Lease;
use crate::exchange::work::Work;
use crate::observe::live::{Alive, Kind};
use crate::observe::{log_error, log_warn};
use crate::resources::Resources;
use crate::timeline::TimelinePoint;

/// A frame that the compute side writes: it owns the slot until [`publish`](Self::publish).
///
/// If it is dropped before that, its frame is lost: the next `begin` returns
/// [`Error::TurnLost`](crate::Error::TurnLost), and the one after that succeeds.
#[must_use = "a turn that is dropped before `publish` loses its frame"]
pub struct ComputeWrite<R: Resources> {
    shared: Arc<Shared<R>>,
    frame: u64,
    slot: usize,
    done: bool,
    _alive: Alive,
}

impl<R: Resources> ComputeWrite<R> {
    pub(super) fn begin(shared: &Arc<Shared<R>>) -> Result<Self> {
        let begun = shared.begin()?;
        let (frame, slot) = (begun.frame, begun.slot);
        let turn = Self { shared: Arc::clone(shared), frame, slot, done: false, _alive: Alive::new(Kind::Turn) };
        // Earlier writes of this stream precede the frame in stream order; Vulkan's uses of the
        // slot do not.
        let unused = (begun.last_uses.read, begun.last_uses.written) == (0, 0);
        let after = if unused { shared.state.ledger().initial_value() } else { begun.last_uses.read };
        if after > 0 {
            shared.state.enqueue_compute_wait(after)?;
        }
        Ok(turn)
    }

    /// Returns the frame's number, starting at 0. Published frames are numbered consecutively.
    pub fn frame(&self) -> u64 {
        self.frame
    }

    /// Returns the slot's index, which is less than
    /// [`LatestWriter::slots`](crate::LatestWriter::slots). It holds an older frame, or nothing.
    pub fn slot(&self) -> usize {
        self.slot
    }

    /// Returns a [`Lease`] on the Vulkan objects of the turn's slot.
    pub fn lease(&self) -> Lease {
        self.shared.state.lease(self.slot)
    }

    /// Returns the turn's resources, which are lent until the turn ends. The stream is this
    /// exchange's own.
    pub fn work(&mut self) -> Work<'_, R> {
        // SAFETY: this turn alone holds the slot, and the work borrows the turn. The stream waits
        // for Vulkan's last use since `begin`; the signal follows the work, and the reader waits
        // for it.
        unsafe { self.shared.state.work(self.slot) }
    }

    /// Publishes the frame by enqueuing a signal after its work; the reader can get the frame from
    /// then on. Returns the point of that signal.
    ///
    /// # Errors
    /// The error of the failed driver call; the frame is then lost, as if the turn had been
    /// dropped.
    pub fn publish(mut self) -> Result<TimelinePoint> {
        let value = self.shared.state.enqueue_compute_signal(self.slot)?;
        self.done = true;
        self.shared.record_published(self.slot, value);
        Ok(self.shared.state.objects.computed.point(value))
    }

    /// Skips the frame and returns its slot, for example because there is nothing new or because
    /// computing it failed. Enqueued work still runs, and the slot's next use is ordered after it.
    ///
    /// # Errors
    /// The error of the failed driver call; the turn then counts as dropped.
    pub fn skip(mut self) -> Result<()> {
        // The slot's next writer is on the same stream, after the work that is joined here.
        self.shared.state.objects.lender.join(self.slot)?;
        self.shared.state.objects.lender.note_unsignaled();
        self.done = true;
        self.shared.ledger().skip_write(self.slot);
        Ok(())
    }
}

impl<R: Resources> Drop for ComputeWrite<R> {
    fn drop(&mut self) {
        if !self.done {
            // Orders the work of other CUDA streams on the slot before the next work of this stream
            // on it.
            self.shared.state.objects.lender.note_unsignaled();
            if let Err(error) = self.shared.state.objects.lender.join(self.slot) {
                log_error!("exchange \"{}\": {error}", self.shared.state.name);
            }
            self.shared.ledger().drop_write(self.slot);
            log_warn!("exchange \"{}\": the compute turn of frame {} was dropped", self.shared.state.name, self.frame);
        }
    }
}

impl<R: Resources> std::fmt::Debug for ComputeWrite<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ComputeWrite(\"{}\", frame {}, slot {})", self.shared.state.name, self.frame, self.slot)
    }
}
