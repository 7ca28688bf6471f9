//! The first hand-over of an exchange's images, before any frame.

use super::{First, Ledger, Slot};
use crate::exchange::hand_over::Initial;

impl Ledger {
    /// Images are to be handed over before the first frame.
    pub(in crate::exchange) fn require_initial(&mut self) {
        self.initial = Initial::Needed;
    }

    pub(in crate::exchange) fn initial(&self) -> Initial {
        self.initial
    }

    /// The value of `rendered` that the compute side waits for before its first use of a slot; 0
    /// where that has been reached.
    pub(in crate::exchange) fn handed_over(&self) -> u64 {
        self.handed_over
    }

    /// The first hand-over has run.
    pub(in crate::exchange) fn initialized(&mut self) {
        self.initial = Initial::Done;
    }

    /// Lends the first hand-over; gives the value that its submission signals. Nothing else is
    /// open: no frame has begun.
    pub(in crate::exchange) fn lend_initial(&mut self) -> u64 {
        let value = self.values.take_rendered();
        self.initial = Initial::Lent(value);
        value
    }

    /// The first hand-over was submitted: what the compute side does first in a slot waits for it.
    /// What Vulkan does first is behind it on the same queue.
    pub(in crate::exchange) fn initial_submitted(&mut self, value: u64) {
        self.values.submitted(value);
        self.initial = Initial::Done;
        self.handed_over = value;
        if self.first == First::Compute {
            self.slots.fill(Slot::Free { after: value });
        }
    }

    /// The first hand-over that was lent was never submitted. No value was taken since, so this one
    /// is taken again.
    pub(in crate::exchange) fn retract_initial(&mut self, value: u64) {
        self.values.retract(value);
        self.initial = Initial::Needed;
    }

    /// The first hand-over that was lent may have been submitted.
    pub(in crate::exchange) fn drop_initial(&mut self) {
        self.initial = Initial::Needed;
    }
}
