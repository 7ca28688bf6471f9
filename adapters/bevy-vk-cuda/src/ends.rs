//! What a writer that was dropped has left to end.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bridge::TimelinePoint;

/// The ends of frames that were unfinished when their writer was dropped, shared by the writer and
/// the presenting side: whoever drops an exchange waits for them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ends(Arc<Mutex<VecDeque<TimelinePoint>>>);

impl Ends {
    /// The writer is dropped with these unfinished.
    pub(crate) fn leave(&self, unfinished: VecDeque<TimelinePoint>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(unfinished);
    }

    /// Returns `true` once all have come.
    pub(crate) fn have_come(&self) -> bool {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Where a side is lost, nothing runs any more.
        left.retain(|end| matches!(end.is_reached(), Ok(false)));
        left.is_empty()
    }
}
