//! The work of an inline stream that has not completed: still recording, recorded, or submitted.
#![allow(unsafe_code)] // Ends command buffers.

use std::collections::VecDeque;

use smallvec::SmallVec;
use vk_export::ash::vk;

use crate::compute::inline::segment::Segment;
use crate::error::Error;

/// Number of command buffers and signals that are submitted without a heap allocation.
pub(super) const INLINE_CAPACITY: usize = 8;

/// The segments of a stream, by state.
#[derive(Default)]
pub(super) struct State {
    /// The segment that is being recorded.
    pub(super) open: Option<Segment>,
    /// Recorded work that is not submitted yet.
    pub(super) batch: Batch,
    /// Submitted segments, each with the value of `progress` that marks its end.
    pub(super) running: VecDeque<(u64, Segment)>,
    pub(super) idle: Vec<Segment>,
    /// The value of `progress` that the last submission signals.
    pub(super) submitted: u64,
    /// Set while another thread is submitting ended work that it has taken.
    pub(super) is_submitting: bool,
}

/// Segments whose work has completed, with the objects that the work used. At most
/// [`INLINE_CAPACITY`], so that no heap allocation is needed.
pub(super) type Completed = SmallVec<[Segment; INLINE_CAPACITY]>;

/// A segment that could not be ended. Dropping it may call user code, so it is dropped after the
/// lock is released.
pub(super) struct FailedSegment {
    pub(super) error: Error,
    _segment: Segment,
}

/// Command buffers that are submitted together, and the signals after them.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) commands: SmallVec<[Segment; INLINE_CAPACITY]>,
    pub(super) signals: SmallVec<[(vk::Semaphore, u64); INLINE_CAPACITY]>,
}

impl State {
    pub(super) fn is_on_queue(&self) -> bool {
        self.batch.is_empty() && !self.is_submitting
    }

    /// Ends the segment that is being recorded, if any.
    ///
    /// # Errors
    /// The error of the failed driver call. The segment is lost, and the exchanges with work in it
    /// are notified.
    pub(super) fn end_open(&mut self) -> std::result::Result<(), Box<FailedSegment>> {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        // SAFETY: the segment has been recording since it was taken. On an error it is dropped,
        // never submitted.
        if let Err(error) = unsafe { open.end() } {
            return Err(Box::new(FailedSegment { error, _segment: open }));
        }
        self.batch.commands.push(open);
        Ok(())
    }

    /// Takes the oldest segments whose work has completed, up to this value of `progress`. They can
    /// be reused after the objects that the work used are dropped, which may call user code, so the
    /// caller does that after it releases the lock.
    #[must_use]
    pub(super) fn reap(&mut self, reached: u64) -> Completed {
        let mut completed = Completed::new();
        while completed.len() < INLINE_CAPACITY
            && let Some((_, commands)) = self.running.pop_front_if(|(value, _)| *value <= reached)
        {
            completed.push(commands);
        }
        completed
    }

    /// Returns work whose submission failed to the front of the queue.
    pub(super) fn put_back(&mut self, mut first: Batch) {
        let later = std::mem::take(&mut self.batch);
        first.commands.extend(later.commands);
        for (timeline, value) in later.signals {
            match first.signals.iter_mut().find(|(known, _)| *known == timeline) {
                Some((_, last)) => *last = value,
                None => first.signals.push((timeline, value)),
            }
        }
        self.batch = first;
    }
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.commands.is_empty() && self.signals.is_empty()
    }
}
