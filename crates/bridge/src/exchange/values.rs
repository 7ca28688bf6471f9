//! The values of the two timelines: which were taken, and which are certain to come.

use super::refusal::Refusal;

/// The values that the signals of an exchange have taken.
#[derive(Debug, Clone, Default)]
pub(super) struct Values {
    /// The highest value of `computed` that was taken.
    computed: u64,
    /// The highest value of `rendered` that was submitted, lent or taken by a flush.
    rendered: u64,
    /// The highest value of `rendered` that is known to have been submitted.
    certain: u64,
    /// The frame that is lent, and its value.
    lent: Option<(u64, u64)>,
}

impl Values {
    /// The value of the next signal of `computed`. It is used up even if the signal cannot be
    /// enqueued.
    #[inline]
    pub(super) fn take_computed(&mut self) -> u64 {
        self.computed += 1;
        self.computed
    }

    /// The value that the submission of a frame signals. While a lent turn is open there is none:
    /// its value is lower, and it may be submitted later.
    #[inline]
    pub(super) fn next_rendered(&self, frame: u64) -> Result<u64, Refusal> {
        match self.lent {
            Some((first, _)) => Err(Refusal::OutOfOrder { frame, first }),
            None => Ok(self.rendered + 1),
        }
    }

    /// Lends a frame's submission; gives its value.
    pub(super) fn lend(&mut self, frame: u64) -> Result<u64, Refusal> {
        let value = self.next_rendered(frame)?;
        self.rendered = value;
        self.lent = Some((frame, value));
        Ok(value)
    }

    /// A submission that signals `value`, of a frame or lent, was accepted.
    #[inline]
    pub(super) fn submitted(&mut self, value: u64) {
        self.rendered = self.rendered.max(value);
        self.certain = self.certain.max(value);
        self.end_lent(value);
    }

    /// What was lent with `value` was never submitted. No value was taken since, so this one is
    /// taken again.
    pub(super) fn retract(&mut self, value: u64) {
        self.rendered = value - 1;
        self.end_lent(value);
    }

    /// Whether what was lent with `value` was submitted will not be told.
    #[inline]
    pub(super) fn end_lent(&mut self, value: u64) {
        self.lent.take_if(|(_, lent)| *lent == value);
    }

    /// Returns `true` while a submission is lent.
    pub(super) fn is_lent(&self) -> bool {
        self.lent.is_some()
    }

    /// Takes a value for a submission that belongs to no frame. None is lent.
    pub(super) fn take_rendered(&mut self) -> u64 {
        self.rendered += 1;
        self.rendered
    }

    /// Takes a value for a submission that only signals, behind all others. `None` where a signal
    /// that will come is behind them: that of the last submission, if it is certain, or of the turn
    /// that is lent.
    pub(super) fn flush(&mut self) -> Option<u64> {
        self.needs_flush().then(|| self.take_rendered())
    }

    /// Returns `true` if [`flush`](Self::flush) would take a value.
    pub(super) fn needs_flush(&self) -> bool {
        self.rendered > self.certain && self.lent.is_none()
    }

    /// The value of `rendered` behind which Vulkan uses nothing any more: the highest that was
    /// submitted or may have been; 0 before the first.
    pub(super) fn last_rendered(&self) -> u64 {
        self.rendered
    }

    /// The highest value of `rendered` that is known to have been submitted.
    pub(super) fn certain(&self) -> u64 {
        self.certain
    }
}
