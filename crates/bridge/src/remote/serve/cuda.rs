//! The frames for a worker that computes with CUDA, which reads the slots directly.
//!
//! Neither GPU waits for the other process: a frame is shown once Vulkan was observed to have drawn
//! it, and a slot returns to Vulkan once the worker has freed it and its timeline was observed to
//! have reached the value.

use std::collections::VecDeque;
use std::time::Duration;

use crate::error::Result;
use crate::exchange::resources::Resources;
use crate::exchange::{Away, LatestReader, RenderFirst, Shown};
use crate::observe::log_warn;
use crate::remote::part::{Handed, Outcome, Patience, blame, recover};
use crate::remote::timelines::Timelines;

/// The slots of an exchange that a worker reads.
pub(in crate::remote) struct CudaServe<R: Resources> {
    reader: LatestReader<R, RenderFirst>,
    timelines: Timelines,
    /// Slots that the worker has freed, each with the value of its timeline that confirms it.
    freed: Vec<(usize, u64)>,
    /// Outcomes that were not returned yet.
    shown: VecDeque<Outcome>,
    /// Whether a frame will be finished once Vulkan's commands have ended.
    drawing: bool,
    /// Whether requesting a frame has failed, which was logged.
    refused: bool,
    /// Whether the worker is given frames.
    is_open: bool,
    /// Whether the timelines were read in this round, and not all outcomes were returned yet. They
    /// are read once per round.
    asked: bool,
    patience: Patience,
}

impl<R: Resources> CudaServe<R> {
    pub(super) fn new(reader: LatestReader<R, RenderFirst>, timelines: Timelines) -> Self {
        Self {
            reader,
            timelines,
            freed: Vec::new(),
            shown: VecDeque::new(),
            drawing: false,
            refused: false,
            is_open: true,
            asked: false,
            patience: Patience::new(),
        }
    }

    /// Records that the worker is finished with a slot once its timeline has reached `value`.
    pub(super) fn freed(&mut self, slot: usize, value: u64) {
        self.patience.renew();
        self.freed.push((slot, value));
    }

    pub(super) fn owed(&self) -> usize {
        self.freed.len()
    }

    pub(super) fn retry(&self) -> Option<Duration> {
        let waits = self.owed() > 0 || self.drawing && self.is_open;
        waits.then(|| self.patience.sleep())
    }

    pub(super) fn close(&mut self) {
        self.is_open = false;
        self.asked = false;
        for handed in std::mem::take(&mut self.shown).into_iter().filter_map(|outcome| outcome.handed) {
            self.untold(&handed);
        }
    }

    /// Handles a frame that the worker was not notified of: the next worker may get it.
    pub(super) fn untold(&self, handed: &Handed) {
        match handed.frame {
            Some(frame) => self.reader.unshow(handed.slot, frame),
            None => self.reader.come_back(handed.slot),
        }
    }

    pub(super) fn advance(&mut self) -> Result<Option<Outcome>, String> {
        if self.shown.is_empty() && !self.asked {
            blame("the timeline of its slots cannot be used", self.take_back(), &self.reader)?;
            blame("the timeline of its frames cannot be signaled", self.show(), &self.reader)?;
            self.asked = true;
        }
        let next = self.shown.pop_front();
        self.asked &= next.is_some();
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
            self.patience.renew();
        }
        done.into_iter().for_each(|(slot, _)| self.reader.come_back(slot));
        Ok(())
    }

    /// Gives the newest finished frame to the worker.
    fn show(&mut self) -> Result<()> {
        if !self.is_open {
            return Ok(());
        }
        let was_drawing = self.drawing;
        let (shown, drawing) = match self.reader.send_away() {
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
        self.drawing = drawing;
        if shown.is_some() || self.drawing && !was_drawing {
            self.patience.renew();
        }
        let Some(Shown { slot, frame }) = shown else { return Ok(()) };
        let value = self.timelines.signal_next().inspect_err(|_| self.reader.unshow(slot, frame))?;
        let handed = Handed { slot, frame: Some(frame), value };
        self.shown.push_back(Outcome { published: None, handed: Some(handed) });
        Ok(())
    }

    /// Stops serving. If the worker is `quiet`, its slots return to the exchange. Otherwise they
    /// stay out of use, since the worker may still read them.
    pub(super) fn stop(self, quiet: bool) -> LatestReader<R, RenderFirst> {
        if quiet {
            recover(&self.reader);
        }
        self.reader
    }
}

#[cfg(test)]
#[path = "cuda_tests.rs"]
mod tests;
