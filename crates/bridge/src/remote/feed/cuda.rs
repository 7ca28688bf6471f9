//! The feed of a worker that computes with CUDA: the worker writes the slots directly, and its
//! frames are published once its timeline shows that they are complete.
//!
//! No work that this process enqueues waits for the worker: the host polls the worker's timeline,
//! and then signals the exchange's own. The worker's GPU does not wait for this process either: the
//! worker gets a slot only once Vulkan's last commands that use it were observed to have ended.

use std::collections::VecDeque;
use std::time::Duration;

use super::Finished;
use super::frames::{Frames, Settled};
use crate::error::Result;
use crate::exchange::resources::Resources;
use crate::exchange::{Away, ComputeFirst, LatestWriter};
use crate::observe::log_warn;
use crate::remote::part::{Handed, Outcome, Patience, TakenBack, blame, recover};
use crate::remote::timelines::Timelines;

/// The feed of a worker that writes the slots of an exchange.
pub(in crate::remote) struct CudaFeed<R: Resources> {
    writer: LatestWriter<R, ComputeFirst>,
    timelines: Timelines,
    frames: Frames,
    /// Results that were not returned yet.
    taken: VecDeque<Outcome>,
    /// Whether the worker gets more slots once Vulkan's commands have ended.
    ending: bool,
    /// Whether a slot may have become free since slots were last requested.
    is_stale: bool,
    /// Whether requesting slots has failed, which was logged.
    refused: bool,
    /// Whether the worker is given slots.
    is_open: bool,
    /// Whether the timelines were read in this round, and not all outcomes were returned yet. They
    /// are read once per round.
    asked: bool,
    patience: Patience,
    /// The slots that the worker has had before.
    known: Vec<usize>,
    taken_back: TakenBack,
}

impl<R: Resources> CudaFeed<R> {
    pub(super) fn new(writer: LatestWriter<R, ComputeFirst>, timelines: Timelines) -> Self {
        Self {
            writer,
            timelines,
            frames: Frames::default(),
            taken: VecDeque::new(),
            ending: false,
            is_stale: true,
            refused: false,
            is_open: true,
            asked: false,
            patience: Patience::new(),
            known: Vec::new(),
            taken_back: TakenBack::default(),
        }
    }

    pub(super) fn published(&mut self, frame: Finished) {
        self.patience.renew();
        if let Err(slot) = self.frames.published(frame) {
            self.come_back(slot);
        }
    }

    /// Notes that the program may have returned a slot.
    pub(super) fn woken(&mut self) {
        self.is_stale = true;
    }

    fn come_back(&mut self, slot: usize) {
        self.writer.come_back(slot);
        self.is_stale = true;
    }

    pub(super) fn torn(&mut self, slot: usize, frame: u64) {
        if let Some(slot) = self.frames.torn(slot, frame) {
            if self.taken_back.is_first() {
                let name = self.writer.name();
                log_warn!("exchange \"{name}\": the worker's frame {frame} is torn and is not shown");
            }
            self.come_back(slot);
        }
    }

    pub(super) fn is_busy(&self) -> bool {
        self.owed() > 0 || !self.taken.is_empty()
    }

    pub(super) fn owed(&self) -> usize {
        self.frames.pending()
    }

    pub(super) fn retry(&self) -> Option<Duration> {
        let waits = self.owed() > 0 || self.ending && self.is_open;
        waits.then(|| self.patience.sleep())
    }

    pub(super) fn close(&mut self) {
        self.is_open = false;
        self.asked = false;
        // The worker was not notified of these slots.
        let untold = self.taken.iter_mut().filter_map(|taken| taken.handed.take());
        untold.for_each(|handed| self.writer.come_back(handed.slot));
    }

    pub(super) fn advance(&mut self) -> Result<Option<Outcome>, String> {
        if self.taken.is_empty() && !self.asked {
            blame("the timeline of its frames cannot be used", self.take_over(), &self.writer)?;
            blame("the timeline of its slots cannot be signaled", self.give(), &self.writer)?;
            self.asked = true;
        }
        let next = self.taken.pop_front();
        self.asked &= next.is_some();
        Ok(next)
    }

    /// Publishes the newest complete frame.
    fn take_over(&mut self) -> Result<()> {
        if self.owed() == 0 {
            return Ok(());
        }
        let value = self.timelines.reached()?;
        let Settled { whole, unseen } = self.frames.reached(value);
        unseen.into_iter().for_each(|slot| self.come_back(slot));
        let Some(slot) = whole else { return Ok(()) };
        self.patience.renew();
        // The frame supersedes an earlier one, whose slot may be free.
        self.is_stale = true;
        self.timelines.order(value)?;
        match self.writer.publish_away(slot) {
            Ok(frame) => self.taken.push_back(Outcome { published: Some(frame), handed: None }),
            // The thread that signals has failed, which is reported to the reader. Only this frame
            // is lost.
            Err(error) => {
                log_warn!("exchange \"{}\": a frame is lost: {error}", self.writer.name());
                self.writer.come_back(slot);
            }
        }
        Ok(())
    }

    /// Gives free slots to the worker. Most rounds have only heard of a frame, which frees no slot:
    /// they skip the driver calls and locks of the request.
    fn give(&mut self) -> Result<()> {
        if !self.is_open || !(self.is_stale || self.ending) {
            return Ok(());
        }
        // Before the request: a slot that is returned during it wakes the thread.
        self.is_stale = false;
        let was_ending = self.ending;
        let known = &mut self.known;
        let (slots, ending) = match self.writer.send_away(|slot| is_new(known, slot)) {
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
        self.ending = ending;
        if self.ending && !was_ending {
            self.patience.renew();
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
                slots.into_iter().for_each(|(slot, _)| self.writer.come_back(slot));
                return Err(error);
            }
        };
        let handed = slots.into_iter().map(|(slot, behind)| {
            let value = if behind { reached } else { 0 };
            Handed { slot, frame: None, value }
        });
        self.taken.extend(handed.map(|handed| Outcome { published: None, handed: Some(handed) }));
        Ok(())
    }

    /// Stops the feed. If the worker is `quiet`, its slots return to the writer. Otherwise they
    /// stay out of use, since the worker may still write to them.
    pub(super) fn stop(self, quiet: bool) -> LatestWriter<R, ComputeFirst> {
        self.taken_back.tell(self.writer.name());
        if quiet {
            recover(&self.writer);
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
