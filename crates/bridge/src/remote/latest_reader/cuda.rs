//! The frames for a worker that computes with CUDA, which reads the slots directly.
//!
//! Neither GPU waits for the other process: a frame is sent once Vulkan was observed to have drawn
//! it, and a slot returns to Vulkan once the worker has freed it and its timeline was observed to
//! have reached the value.

use std::collections::VecDeque;
use std::time::Duration;

use crate::error::Result;
use crate::exchange::{LatestReader, RemoteHandle, RenderFirst, SentFrame};
use crate::observe::log_warn;
use crate::remote::part::{Backoff, HandedSlot, Outcome, reclaim_slots, worker_fault};
use crate::remote::timelines::Timelines;
use crate::resources::Resources;

/// The slots of an exchange that a worker reads.
pub(in crate::remote) struct CudaReaderPart<R: Resources> {
    reader: LatestReader<R, RenderFirst>,
    timelines: Timelines,
    /// Slots that the worker has freed, each with the value of its timeline that confirms it.
    freed: Vec<(usize, u64)>,
    /// Outcomes that were not returned yet.
    outcomes: VecDeque<Outcome>,
    /// `true` if a frame will be finished once Vulkan's commands have ended.
    has_unfinished_frame: bool,
    /// `true` if requesting a frame has failed, which was logged.
    refused: bool,
    /// `false` once the worker gets no more frames.
    is_open: bool,
    /// Whether the timelines were read in this round, and not all outcomes were returned yet. They
    /// are read once per round.
    timelines_read: bool,
    backoff: Backoff,
}

impl<R: Resources> CudaReaderPart<R> {
    pub(super) fn new(reader: LatestReader<R, RenderFirst>, timelines: Timelines) -> Self {
        Self {
            reader,
            timelines,
            freed: Vec::new(),
            outcomes: VecDeque::new(),
            has_unfinished_frame: false,
            refused: false,
            is_open: true,
            timelines_read: false,
            backoff: Backoff::new(),
        }
    }

    /// Records that the worker is finished with a slot once its timeline has reached `value`.
    pub(super) fn add_freed(&mut self, slot: usize, value: u64) {
        self.backoff.reset();
        self.freed.push((slot, value));
    }

    pub(super) fn pending_signals(&self) -> usize {
        self.freed.len()
    }

    pub(super) fn retry_delay(&self) -> Option<Duration> {
        let waits = self.pending_signals() > 0 || self.has_unfinished_frame && self.is_open;
        waits.then(|| self.backoff.delay())
    }

    pub(super) fn close(&mut self) {
        self.is_open = false;
        self.timelines_read = false;
        for handed in std::mem::take(&mut self.outcomes).into_iter().filter_map(|outcome| outcome.handed) {
            self.return_unsent(&handed);
        }
    }

    /// Handles a frame that the worker was not notified of: the next worker may get it.
    pub(super) fn return_unsent(&self, handed: &HandedSlot) {
        match handed.frame {
            Some(frame) => self.reader.return_unsent(handed.slot, frame),
            None => self.reader.reclaim(handed.slot),
        }
    }

    pub(super) fn advance(&mut self) -> Result<Option<Outcome>, String> {
        if self.outcomes.is_empty() && !self.timelines_read {
            worker_fault("the timeline of its slots cannot be used", self.take_back(), &self.reader)?;
            worker_fault("the timeline of its frames cannot be signaled", self.send_newest(), &self.reader)?;
            self.timelines_read = true;
        }
        let next = self.outcomes.pop_front();
        self.timelines_read &= next.is_some();
        Ok(next)
    }

    /// Takes back the slots that the worker was observed to be finished with.
    fn take_back(&mut self) -> Result<()> {
        if self.freed.is_empty() {
            return Ok(());
        }
        let reached = self.timelines.reached()?;
        let done: Vec<_> = self.freed.extract_if(.., |(_, value)| *value <= reached).collect();
        if done.iter().any(|(_, value)| *value > 0) {
            self.timelines.order(reached)?;
        }
        if !done.is_empty() {
            self.backoff.reset();
        }
        done.into_iter().for_each(|(slot, _)| self.reader.reclaim(slot));
        Ok(())
    }

    /// Gives the newest finished frame to the worker.
    fn send_newest(&mut self) -> Result<()> {
        if !self.is_open {
            return Ok(());
        }
        let was_drawing = self.has_unfinished_frame;
        let (shown, drawing) = match self.reader.send_newest() {
            Ok(shown) => {
                self.refused = false;
                shown
            }
            // The failure is in this process and is reported by the writer; the worker is not at
            // fault.
            Err(error) => {
                if !std::mem::replace(&mut self.refused, true) {
                    log_warn!("exchange \"{}\": no frame can be shown to the worker: {error}", self.reader.name());
                }
                (None, true)
            }
        };
        self.has_unfinished_frame = drawing;
        if shown.is_some() || self.has_unfinished_frame && !was_drawing {
            self.backoff.reset();
        }
        let Some(SentFrame { slot, frame }) = shown else { return Ok(()) };
        let value = self.timelines.signal_next().inspect_err(|_| self.reader.return_unsent(slot, frame))?;
        let handed = HandedSlot { slot, frame: Some(frame), value };
        self.outcomes.push_back(Outcome { published: None, handed: Some(handed) });
        Ok(())
    }

    /// Stops serving. If the worker is `quiet`, its slots return to the exchange. Otherwise they
    /// stay out of use, since the worker may still read them.
    pub(super) fn stop(self, quiet: bool) -> LatestReader<R, RenderFirst> {
        if quiet {
            reclaim_slots(&self.reader);
        }
        self.reader
    }
}

#[cfg(test)]
#[path = "cuda_tests.rs"]
mod tests;
