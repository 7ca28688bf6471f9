//! The work of an inline stream that has not completed: being recorded, recorded, or submitted.
#![allow(unsafe_code)] // Ends command buffers.

use std::collections::VecDeque;

use smallvec::SmallVec;
use vk_export::ash::vk;

use crate::compute::inline::segment::Segment;
use crate::error::Error;

/// Number of command buffers and signals that are submitted without a heap allocation.
pub(super) const FEW: usize = 8;

/// The segments of a stream, by state.
#[derive(Default)]
pub(super) struct State {
    /// Being recorded.
    pub(super) open: Option<Segment>,
    /// Recorded, to be submitted.
    pub(super) ended: Ended,
    /// Submitted, each with the value of `progress` at its end.
    pub(super) running: VecDeque<(u64, Segment)>,
    pub(super) idle: Vec<Segment>,
    /// The value of `progress` that the last submission signals.
    pub(super) submitted: u64,
    /// Ended work has been taken and is not on the queue yet: another thread is submitting it.
    pub(super) taken: bool,
}

/// Segments whose work has completed, with what it has used. At most [`FEW`], so that they need no
/// heap.
pub(super) type Completed = SmallVec<[Segment; FEW]>;

/// A segment that could not be ended. Dropping it may call the program, so that it comes after the
/// lock.
pub(super) struct Failed {
    pub(super) error: Error,
    _segment: Segment,
}

/// Command buffers that are submitted together, and what is signaled behind them.
#[derive(Default)]
pub(super) struct Ended {
    pub(super) commands: SmallVec<[Segment; FEW]>,
    pub(super) signals: SmallVec<[(vk::Semaphore, u64); FEW]>,
}

impl State {
    pub(super) fn is_on_queue(&self) -> bool {
        self.ended.is_empty() && !self.taken
    }

    /// Ends the segment that is being recorded, if there is one.
    ///
    /// # Errors
    /// The error of the failed driver call. The segment is lost, and those whose work it has are
    /// told.
    pub(super) fn end_open(&mut self) -> std::result::Result<(), Box<Failed>> {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        // SAFETY: it has been recording since it was taken. On an error it is dropped, never
        // submitted.
        if let Err(error) = unsafe { open.end() } {
            return Err(Box::new(Failed { error, _segment: open }));
        }
        self.ended.commands.push(open);
        Ok(())
    }

    /// Takes the oldest segments whose work has completed, up to this value of `progress`. They are
    /// idle once what the work has used is dropped, which may call the program, so that it comes
    /// after the lock.
    #[must_use]
    pub(super) fn reap(&mut self, reached: u64) -> Completed {
        let mut completed = Completed::new();
        while completed.len() < FEW
            && let Some((_, commands)) = self.running.pop_front_if(|(value, _)| *value <= reached)
        {
            completed.push(commands);
        }
        completed
    }

    /// Returns work whose submission failed to the front of the queue.
    pub(super) fn put_back(&mut self, mut first: Ended) {
        let later = std::mem::take(&mut self.ended);
        first.commands.extend(later.commands);
        for (timeline, value) in later.signals {
            match first.signals.iter_mut().find(|(known, _)| *known == timeline) {
                Some((_, last)) => *last = value,
                None => first.signals.push((timeline, value)),
            }
        }
        self.ended = first;
    }
}

impl Ended {
    pub(super) fn is_empty(&self) -> bool {
        self.commands.is_empty() && self.signals.is_empty()
    }
}
