//! The first hand-over of an exchange's images, before any frame.

use super::{FirstSide, Ledger, Slot};

/// State of an exchange's images before their first frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::exchange) enum InitialState {
    /// The images are the compute side's, or there are none.
    Done,
    /// The hand-over must be submitted.
    Needed,
    /// An engine has the hand-over, which signals this value of `rendered`.
    Lent(u64),
}

impl Ledger {
    /// Requires a hand-over of images before the first frame.
    pub(in crate::exchange) fn require_initial(&mut self) {
        self.initial = InitialState::Needed;
    }

    pub(in crate::exchange) fn initial(&self) -> InitialState {
        self.initial
    }

    /// Returns the value of `rendered` that the compute side waits for before its first use of a
    /// slot, or 0 if it need not wait.
    pub(in crate::exchange) fn initial_value(&self) -> u64 {
        self.initial_value
    }

    /// Records that the first hand-over has run.
    pub(in crate::exchange) fn mark_initialized(&mut self) {
        self.initial = InitialState::Done;
    }

    /// Lends the first hand-over and returns the value that its submission signals. Nothing else is
    /// open, since no frame has begun.
    pub(in crate::exchange) fn lend_initial(&mut self) -> u64 {
        let value = self.values.take_rendered_value();
        self.initial = InitialState::Lent(value);
        value
    }

    /// Records that the first hand-over was submitted: the compute side's first use of a slot waits
    /// for it. Vulkan's first use follows it on the same queue.
    pub(in crate::exchange) fn mark_initial_submitted(&mut self, value: u64) {
        self.values.mark_submitted(value);
        self.initial = InitialState::Done;
        self.initial_value = value;
        if self.first == FirstSide::Compute {
            self.slots.fill(Slot::Free { after: value });
        }
    }

    /// Records that the lent first hand-over was never submitted. No value was taken since, so its
    /// value is reused.
    pub(in crate::exchange) fn retract_initial(&mut self, value: u64) {
        self.values.retract(value);
        self.initial = InitialState::Needed;
    }

    /// Records that the lent first hand-over may have been submitted.
    pub(in crate::exchange) fn drop_initial(&mut self) {
        self.initial = InitialState::Needed;
    }
}
