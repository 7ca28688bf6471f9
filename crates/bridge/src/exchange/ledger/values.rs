//! Values of `rendered`: which were taken, and which are certain to be signaled.

use crate::exchange::ledger::refusal::Refusal;

/// The values of `rendered` that the signals of an exchange have taken.
#[derive(Debug, Clone, Default)]
pub(in crate::exchange) struct Values {
    /// The highest value of `rendered` that was submitted, lent or taken by a flush.
    rendered: u64,
    /// The highest value of `rendered` that is known to have been submitted.
    confirmed: u64,
    /// The lent submission.
    lent: Option<Lent>,
}

/// A lent submission.
#[derive(Debug, Clone, Copy)]
struct Lent {
    /// Its frame, or the one that refused submissions name.
    frame: u64,
    value: u64,
    kind: LentKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LentKind {
    Turn,
    HandOver,
}

impl Values {
    /// Returns the value that the submission of a frame signals. Refused while a turn is lent: the
    /// lent value is lower, and may be submitted later.
    #[inline]
    pub(in crate::exchange) fn next_rendered_value(&self, frame: u64) -> Result<u64, Refusal> {
        match self.lent {
            Some(Lent { frame: first, .. }) => Err(Refusal::OutOfOrder { frame, first }),
            None => Ok(self.rendered + 1),
        }
    }

    /// Lends a frame's submission and returns its value.
    pub(in crate::exchange) fn lend(&mut self, frame: u64) -> Result<u64, Refusal> {
        self.lend_kind(frame, LentKind::Turn)
    }

    /// Lends the submission of a hand-over of slots and returns its value. Until it ends, refused
    /// submissions name `frame`.
    pub(in crate::exchange) fn lend_hand_over(&mut self, frame: u64) -> Result<u64, Refusal> {
        self.lend_kind(frame, LentKind::HandOver)
    }

    fn lend_kind(&mut self, frame: u64, kind: LentKind) -> Result<u64, Refusal> {
        let value = self.next_rendered_value(frame)?;
        self.rendered = value;
        self.lent = Some(Lent { frame, value, kind });
        Ok(value)
    }

    /// Records that a submission that signals `value`, of a frame or lent, was accepted.
    #[inline]
    pub(in crate::exchange) fn mark_submitted(&mut self, value: u64) {
        self.rendered = self.rendered.max(value);
        self.confirmed = self.confirmed.max(value);
        self.end_lent(value);
    }

    /// Records that the submission lent with `value` was never made. No value was taken since, so
    /// its value is reused.
    pub(in crate::exchange) fn retract(&mut self, value: u64) {
        self.rendered = value - 1;
        self.end_lent(value);
    }

    /// Records that it will never be reported whether the submission lent with `value` was made.
    #[inline]
    pub(in crate::exchange) fn end_lent(&mut self, value: u64) {
        self.lent.take_if(|lent| lent.value == value);
    }

    /// Returns `true` while a submission is lent.
    pub(in crate::exchange) fn is_lent(&self) -> bool {
        self.lent.is_some()
    }

    /// Returns `true` while the submission of a turn is lent.
    pub(in crate::exchange) fn is_turn_lent(&self) -> bool {
        self.lent.is_some_and(|lent| lent.kind == LentKind::Turn)
    }

    /// Takes a value for a submission that belongs to no frame. No submission is lent.
    pub(in crate::exchange) fn take_rendered_value(&mut self) -> u64 {
        self.rendered += 1;
        self.rendered
    }

    /// Returns `true` if a submission may have been made after the last signal that is certain to
    /// come.
    pub(in crate::exchange) fn needs_flush(&self) -> bool {
        self.rendered > self.confirmed && self.lent.is_none()
    }

    /// Returns the value of `rendered` after which Vulkan uses nothing any more: the highest that
    /// was or may have been submitted; 0 before the first.
    pub(in crate::exchange) fn last_rendered(&self) -> u64 {
        self.rendered
    }

    /// Returns the highest value of `rendered` that is known to have been submitted.
    pub(in crate::exchange) fn confirmed(&self) -> u64 {
        self.confirmed
    }
}

#[cfg(test)]
#[path = "values_tests.rs"]
mod tests;
