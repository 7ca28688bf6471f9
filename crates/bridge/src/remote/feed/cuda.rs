//! A worker that computes with CUDA: it writes the slots themselves, and its frames are published
//! once its timeline says that they are whole.
//!
//! Nothing that this process enqueues waits for the worker: its timeline is asked for by the host,
//! which then signals the exchange's own. Nor does the worker's GPU wait for anything here: a slot
//! is its own once Vulkan's last commands with it were seen to end.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::frames::{Frames, Settled};
use super::{Finished, Freed, Taken};
use crate::error::Result;
use crate::exchange::resources::Resources;
use crate::exchange::{ComputeFirst, LatestWriter};
use crate::observe::log_warn;
use crate::remote::timelines::Timelines;

/// The shortest and the longest sleep of the thread while it waits for a value that wakes nobody: a
/// sixteenth of what it has waited. A frame that takes 3 ms is seen 0.2 ms after its end at the
/// latest, and a kernel that never ends costs a hundred looks a second, each of less than a
/// microsecond.
const LEAST: Duration = Duration::from_micros(100);
const MOST: Duration = Duration::from_millis(10);

/// The slots of an exchange in the hands of a worker.
pub(in crate::remote) struct CudaFeed<R: Resources> {
    writer: LatestWriter<R, ComputeFirst>,
    timelines: Timelines,
    frames: Frames,
    /// Results that were not returned yet.
    taken: VecDeque<Taken>,
    /// Whether slots will be the worker's once Vulkan's commands have ended.
    ending: bool,
    /// Whether it could not be asked for slots, which was told.
    refused: bool,
    /// Whether the worker is given slots.
    is_open: bool,
    /// When something has happened last.
    since: Instant,
}

impl<R: Resources> CudaFeed<R> {
    pub(super) fn new(writer: LatestWriter<R, ComputeFirst>, timelines: Timelines) -> Self {
        Self {
            writer,
            timelines,
            frames: Frames::default(),
            taken: VecDeque::new(),
            ending: false,
            refused: false,
            is_open: true,
            since: Instant::now(),
        }
    }

    pub(super) fn published(&mut self, frame: Finished) {
        self.since = Instant::now();
        if let Err(slot) = self.frames.published(frame) {
            self.writer.come_back(slot);
        }
    }

    pub(super) fn torn(&mut self, slot: usize, frame: u64) {
        if let Some(slot) = self.frames.torn(slot, frame) {
            log_warn!("exchange \"{}\": the worker's frame {frame} is torn, and shown to nobody", self.writer.name());
            self.writer.come_back(slot);
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
        waits.then(|| (self.since.elapsed() / 16).clamp(LEAST, MOST))
    }

    pub(super) fn close(&mut self) {
        self.is_open = false;
        // The worker was not told of these.
        let freed = self.taken.iter_mut().filter_map(|taken| taken.freed.take());
        freed.for_each(|freed| self.writer.come_back(freed.slot));
    }

    pub(super) fn advance(&mut self) -> Result<Option<Taken>, String> {
        if self.taken.is_empty() {
            blame("the timeline of its frames cannot be used", self.take_over())?;
            blame("the timeline of its slots cannot be signalled", self.give())?;
        }
        Ok(self.taken.pop_front())
    }

    /// Publishes the newest frame that is whole.
    fn take_over(&mut self) -> Result<()> {
        if self.owed() == 0 {
            return Ok(());
        }
        let value = self.timelines.reached()?;
        let Settled { whole, unseen } = self.frames.reached(value);
        unseen.into_iter().for_each(|slot| self.writer.come_back(slot));
        let Some(slot) = whole else { return Ok(()) };
        self.since = Instant::now();
        self.timelines.order(value)?;
        match self.writer.publish_away(slot) {
            Ok(frame) => self.taken.push_back(Taken { published: Some(frame), freed: None }),
            // The thread that signals has failed, which the reader is told. A frame is lost, and no
            // more than that.
            Err(error) => {
                log_warn!("exchange \"{}\": a frame is lost: {error}", self.writer.name());
                self.writer.come_back(slot);
            }
        }
        Ok(())
    }

    /// Gives the worker what is free.
    fn give(&mut self) -> Result<()> {
        if !self.is_open {
            return Ok(());
        }
        let was_ending = self.ending;
        let (slots, ending) = match self.writer.send_away() {
            Ok(taken) => {
                self.refused = false;
                taken
            }
            // What has failed is this process's own, of which the reader tells: it is not the
            // worker's fault.
            Err(error) => {
                if !std::mem::replace(&mut self.refused, true) {
                    log_warn!("exchange \"{}\": the worker is given no slots: {error}", self.writer.name());
                }
                (Vec::new(), true)
            }
        };
        self.ending = ending;
        if self.ending && !was_ending {
            self.since = Instant::now();
        }
        if slots.is_empty() {
            return Ok(());
        }
        let value = match self.timelines.free() {
            Ok(value) => value,
            Err(error) => {
                slots.into_iter().for_each(|slot| self.writer.come_back(slot));
                return Err(error);
            }
        };
        self.taken.extend(slots.into_iter().map(|slot| Taken { published: None, freed: Some(Freed { slot, value }) }));
        Ok(())
    }

    /// Where the worker is `quiet`, its slots are the writer's again. Else they stay out of use: it
    /// may still write to them.
    pub(super) fn stop(self, quiet: bool) -> LatestWriter<R, ComputeFirst> {
        if quiet {
            recover(&self.writer);
        }
        self.writer
    }
}

/// Turns an error of what a worker was given into the reason for which its connection ends. The
/// loss of the device is not the worker's fault, and the reader tells of it.
fn blame(what: &str, result: Result<()>) -> Result<(), String> {
    match result {
        Err(error) if !error.is_device_lost() => Err(format!("{what}: {error}")),
        _ => Ok(()),
    }
}

/// The worker that held slots writes to them no more.
pub(in crate::remote) fn recover<R: Resources>(writer: &LatestWriter<R, ComputeFirst>) {
    writer.away().into_iter().for_each(|slot| writer.come_back(slot));
}

#[cfg(test)]
#[path = "cuda_tests.rs"]
mod tests;
