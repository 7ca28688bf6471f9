//! The writer part of a worker that computes with CUDA: the worker writes the slots directly, and
//! its frames are published once its timeline shows that they are complete.
//!
//! No work that this process enqueues waits for the worker: the host polls the worker's timeline,
//! and then signals the exchange's own. The worker's GPU does not wait for this process either: the
//! worker gets a slot only once Vulkan's last commands that use it were observed to have ended.

use std::collections::VecDeque;
use std::time::Duration;

use super::FinishedFrame;
use super::frames::{Frames, ReachedFrames};
use crate::error::Result;
use crate::exchange::{ComputeFirst, LatestWriter, RemoteHandle};
use crate::observe::log_warn;
use crate::remote::part::{Backoff, HandedSlot, Outcome, TornFrames, reclaim_slots, worker_fault};
use crate::remote::timelines::Timelines;
use crate::resources::Resources;

/// The part of a worker that writes the slots of an exchange.
pub(in crate::remote) struct CudaWriterPart<R: Resources> {
    writer: LatestWriter<R, ComputeFirst>,
    timelines: Timelines,
    frames: Frames,
    /// Results that were not returned yet.
    outcomes: VecDeque<Outcome>,
    /// `true` if the worker gets more slots once Vulkan's commands have ended.
    awaits_timeline: bool,
    /// `true` if a slot may have become free since the last request for slots.
    slots_may_be_free: bool,
    /// `true` if requesting slots has failed, which was logged.
    refused: bool,
    /// `false` once the worker gets no more slots.
    is_open: bool,
    /// Whether the timelines were read in this round, and not all outcomes were returned yet. They
    /// are read once per round.
    timelines_read: bool,
    backoff: Backoff,
    /// The slots that the worker has had before.
    known: Vec<usize>,
    torn_frames: TornFrames,
}

impl<R: Resources> CudaWriterPart<R> {
    pub(super) fn new(writer: LatestWriter<R, ComputeFirst>, timelines: Timelines) -> Self {
        Self {
            writer,
            timelines,
            frames: Frames::default(),
            outcomes: VecDeque::new(),
            awaits_timeline: false,
            slots_may_be_free: true,
            refused: false,
            is_open: true,
            timelines_read: false,
            backoff: Backoff::new(),
            known: Vec::new(),
            torn_frames: TornFrames::default(),
        }
    }

    pub(super) fn add_published(&mut self, frame: FinishedFrame) {
        self.backoff.reset();
        if let Err(slot) = self.frames.push(frame) {
            self.reclaim(slot);
        }
    }

    /// Notes that the program may have returned a slot.
    pub(super) fn woken(&mut self) {
        self.slots_may_be_free = true;
    }

    fn reclaim(&mut self, slot: usize) {
        self.writer.reclaim(slot);
        self.slots_may_be_free = true;
    }

    pub(super) fn mark_torn(&mut self, slot: usize, frame: u64) {
        if let Some(slot) = self.frames.remove_torn(slot, frame) {
            if self.torn_frames.add() {
                let name = self.writer.name();
                log_warn!("exchange \"{name}\": the worker's frame {frame} is torn and is not shown");
            }
            self.reclaim(slot);
        }
    }

    pub(super) fn is_busy(&self) -> bool {
        self.pending_signals() > 0 || !self.outcomes.is_empty()
    }

    pub(super) fn pending_signals(&self) -> usize {
        self.frames.len()
    }

    pub(super) fn retry_delay(&self) -> Option<Duration> {
        let waits = self.pending_signals() > 0 || self.awaits_timeline && self.is_open;
        waits.then(|| self.backoff.delay())
    }

    pub(super) fn close(&mut self) {
        self.is_open = false;
        self.timelines_read = false;
        // The worker was not notified of these slots.
        let unsent = self.outcomes.iter_mut().filter_map(|taken| taken.handed.take());
        unsent.for_each(|handed| self.writer.reclaim(handed.slot));
    }

    pub(super) fn advance(&mut self) -> Result<Option<Outcome>, String> {
        if self.outcomes.is_empty() && !self.timelines_read {
            worker_fault("the timeline of its frames cannot be used", self.publish_newest(), &self.writer)?;
            worker_fault("the timeline of its slots cannot be signaled", self.give_slots(), &self.writer)?;
            self.timelines_read = true;
        }
        let next = self.outcomes.pop_front();
        self.timelines_read &= next.is_some();
        Ok(next)
    }

    /// Publishes the newest complete frame.
    fn publish_newest(&mut self) -> Result<()> {
        if self.pending_signals() == 0 {
            return Ok(());
        }
        let value = self.timelines.reached()?;
        let ReachedFrames { whole, superseded } = self.frames.take_reached(value);
        superseded.into_iter().for_each(|slot| self.reclaim(slot));
        let Some(slot) = whole else { return Ok(()) };
        self.backoff.reset();
        // The frame supersedes an earlier one, whose slot may be free.
        self.slots_may_be_free = true;
        self.timelines.order(value)?;
        match self.writer.publish_remote(slot) {
            Ok(frame) => self.outcomes.push_back(Outcome { published: Some(frame), handed: None }),
            // The thread that signals has failed, which is reported to the reader. Only this frame
            // is lost.
            Err(error) => {
                log_warn!("exchange \"{}\": a frame is lost: {error}", self.writer.name());
                self.writer.reclaim(slot);
            }
        }
        Ok(())
    }

    /// Gives free slots to the worker. Most rounds have only received a frame, which frees no
    /// slot: they skip the driver calls and locks of the request.
    fn give_slots(&mut self) -> Result<()> {
        if !self.is_open || !(self.slots_may_be_free || self.awaits_timeline) {
            return Ok(());
        }
        // Before the request: a slot that is returned during it wakes the thread.
        self.slots_may_be_free = false;
        let was_ending = self.awaits_timeline;
        let known = &mut self.known;
        let (slots, ending) = match self.writer.send_slots(|slot| is_new(known, slot)) {
            Ok(taken) => {
                self.refused = false;
                taken
            }
            // The failure is in this process and is reported by the reader; the worker is not at
            // fault.
            Err(error) => {
                if !std::mem::replace(&mut self.refused, true) {
                    log_warn!("exchange \"{}\": no slots can be given to the worker: {error}", self.writer.name());
                }
                (Vec::new(), true)
            }
        };
        self.awaits_timeline = ending;
        if self.awaits_timeline && !was_ending {
            self.backoff.reset();
        }
        if slots.is_empty() {
            return Ok(());
        }
        // Slots that Vulkan has not used since the worker had them need no signal. A signal takes
        // 10 µs, and a hundred times as long while other threads use the device.
        let signaled = slots.iter().any(|(_, behind)| *behind).then(|| self.timelines.signal_next());
        let reached = match signaled.transpose() {
            Ok(value) => value.unwrap_or(0),
            Err(error) => {
                slots.into_iter().for_each(|(slot, _)| self.writer.reclaim(slot));
                return Err(error);
            }
        };
        let handed = slots.into_iter().map(|(slot, behind)| {
            let value = if behind { reached } else { 0 };
            HandedSlot { slot, frame: None, value }
        });
        self.outcomes.extend(handed.map(|handed| Outcome { published: None, handed: Some(handed) }));
        Ok(())
    }

    /// Stops the part. If the worker is `quiet`, its slots return to the writer. Otherwise they
    /// stay out of use, since the worker may still write to them.
    pub(super) fn stop(self, quiet: bool) -> LatestWriter<R, ComputeFirst> {
        self.torn_frames.log_total(self.writer.name());
        if quiet {
            reclaim_slots(&self.writer);
        }
        self.writer
    }
}

/// Returns `true` if the worker is given a slot for the first time, and adds it to the `known`
/// ones: such a slot was used by other workers, or handed over by Vulkan.
fn is_new(known: &mut Vec<usize>, slot: usize) -> bool {
    let is_new = !known.contains(&slot);
    if is_new {
        known.push(slot);
    }
    is_new
}

#[cfg(test)]
#[path = "cuda_tests.rs"]
mod tests;
