//! Workers that read in step: they get each frame once and in order, and values are announced
//! before they are reached.
//!
//! With CUDA, the worker gets a frame as soon as it is submitted: its stream waits for Vulkan's
//! commands on the GPU. It returns the slot with a value that its stream signals, and Vulkan's next
//! commands that use the slot wait for that value. For a worker on the CPU, the compute thread
//! copies the frame into memory that the worker reads, and no submission waits for the worker.
//!
//! A worker that does not reach an announced value within the limit (`owed`) is killed. Once its
//! process has ended, the value is signaled by this process.
#![allow(unsafe_code)] // Signals in the place of a process that has ended.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_ipc::{Backend, Direction, Message};

use super::copy::{Copy, CopyEnd, Files};
use super::memory::{Given, Memory, memory};
use super::owed::Owed;
use super::part::{
    End, Handed, LOOK, Outcome, Part, Patience, Settled, await_settled, blame, index, recover, release_gpu,
};
use super::terms::{EXCHANGE, Terms, most_owed};
use super::wake::Wake;
use crate::error::Result;
use crate::exchange::resources::Resources;
use crate::exchange::{Announced, Away, DrawAway, Drawn, Draws};
use crate::observe::log_warn;

/// The frames for a worker that reads in step.
pub(super) struct Draw<R: Resources> {
    away: DrawAway<R>,
    draws: Arc<Draws<R>>,
    /// Slots that the worker has returned but is not finished with.
    owed: Owed,
    /// The frames that the worker holds, by slot.
    held: BTreeMap<usize, Drawn>,
    /// The memory that the worker reads, if it computes on the CPU.
    files: Option<Files>,
    /// Frames that the compute thread is copying.
    copies: VecDeque<Copying>,
    /// Number of frames that were copied for the worker.
    given: u64,
    /// Violation by the worker, which the next `advance` returns.
    broken: Option<String>,
    /// Whether the worker is given frames.
    is_open: bool,
    wake: Arc<Wake>,
    patience: Patience,
    /// Negative control of the tests: nothing is signaled in the worker's place.
    #[cfg(test)]
    pub(in crate::remote) signals_nothing: bool,
    /// Negative control of the order: copies do not wait for anything.
    #[cfg(test)]
    copies_unordered: bool,
}

struct Copying {
    drawn: Drawn,
    end: Arc<CopyEnd>,
}

impl<R: Resources> End for DrawAway<R> {
    const DIRECTION: Direction = Direction::RendererWrites;
    const TRUST: bool = true;
    type Part = Draw<R>;

    fn memory(&self, terms: &Terms) -> Result<Memory<'_, ()>> {
        memory(self, terms, || Ok((self.export_timelines(EXCHANGE)?, ())))
    }

    /// A worker with CUDA gets timelines that no other had. On the CPU, only this process uses
    /// them.
    fn prepare(&mut self, backend: Backend, limit: Duration, go_on: &dyn Fn() -> Result<()>) -> Result<()> {
        if backend == Backend::Host || self.is_new() {
            return Ok(());
        }
        await_settled(self.exchange(), limit, go_on, || self.is_settled())?;
        self.renew(go_on)
    }
}

impl<R: Resources> Part for Draw<R> {
    type End = DrawAway<R>;
    type Slots = ();

    fn new(away: DrawAway<R>, given: Given<()>, wake: &Arc<Wake>) -> Self {
        let files = match given {
            Given::Files(files) => Some(files),
            Given::Slots(()) => None,
        };
        let draws = away.draws();
        // From here on, a worker reads the frames.
        draws.open(true);
        Self {
            away,
            draws,
            owed: Owed::new(Instant::now()),
            held: BTreeMap::new(),
            files,
            copies: VecDeque::new(),
            given: 0,
            broken: None,
            is_open: true,
            wake: Arc::clone(wake),
            patience: Patience::new(),
            #[cfg(test)]
            signals_nothing: false,
            #[cfg(test)]
            copies_unordered: false,
        }
    }

    fn hear(&mut self, said: &Message) -> Option<Outcome> {
        self.patience.renew();
        // The session allows no other message of a reader.
        if let &Message::Free { slot, value, .. } = said {
            self.freed(index(slot), value);
        }
        None
    }

    fn advance(&mut self) -> Result<Option<Outcome>, String> {
        if let Some(broken) = self.broken.take() {
            return Err(broken);
        }
        let handed = if self.is_host() { self.copy()? } else { self.show()? };
        Ok(handed.map(|handed| Outcome { published: None, handed: Some(handed) }))
    }

    fn is_busy(&self) -> bool {
        self.owed.count() > 0
    }

    fn hands_over(&self) -> bool {
        // Frames that an engine submits itself are given once the host has observed their end.
        let drawing = !self.is_host() && self.away.waits_for_engine();
        drawing && self.owed.count() < most_owed(self.away.count()) || !self.copies.is_empty()
    }

    fn retry(&self) -> Option<Duration> {
        if self.is_host() {
            // Copies wake the thread.
            return None;
        }
        let owed = (self.owed.count() > 0).then(|| LOOK.min(self.patience.sleep()));
        let drawing = (self.is_open && self.away.waits_for_engine()).then(|| self.patience.sleep());
        owed.into_iter().chain(drawing).min()
    }

    fn close(&mut self) {
        self.is_open = false;
        self.draws.open(false);
    }

    fn owed(&self) -> usize {
        self.owed.count()
    }

    fn needs_worker(&self) -> bool {
        !self.is_host()
    }

    fn release(&mut self) {
        if let Some(files) = &mut self.files {
            *files = Files::default();
        }
    }

    fn overrun(&mut self, limit: Duration, leaves: bool) -> Option<String> {
        if self.owed.count() == 0 {
            return None;
        }
        let rendered = self.away.rendered().unwrap_or(u64::MAX);
        let Announced { frame, value, .. } = self.owed.overrun(rendered, leaves, limit, Instant::now())?.announced;
        if self.forgive() {
            return None;
        }
        Some(format!(
            "gave back the slot of frame {frame} with value {value}, but did not reach that value within {limit:?}"
        ))
    }

    fn is_waited_for(&self) -> bool {
        self.owed.count() > 0
    }

    fn waited_for(&self) -> Box<[u64]> {
        self.owed.frames()
    }

    fn settle(&mut self, dead: bool) -> Settled {
        // On the CPU, nothing is owed.
        if self.owed.count() == 0 || !dead {
            return Settled::default();
        }
        let value = self.owed.take().last().map(|frame| frame.announced.value);
        #[cfg(test)]
        if self.signals_nothing {
            return Settled { torn: Box::default(), value };
        }
        // SAFETY: the process has ended (`dead`).
        unsafe { release_gpu(&self.away) };
        // All frames are complete, since the worker only reads them.
        Settled { torn: Box::default(), value }
    }

    fn stop(self, quiet: bool) -> (DrawAway<R>, bool) {
        // A worker on the CPU has its own memory, and uses no slots of the exchange.
        let quiet = quiet || self.is_host();
        if quiet {
            recover(&self.away);
        }
        (self.away, quiet)
    }
}

impl<R: Resources> Draw<R> {
    fn is_host(&self) -> bool {
        self.files.is_some()
    }

    /// If the device is lost, drops the values that the worker owes: they are of no use, and could
    /// not be observed. Returns `true` if it is lost.
    fn forgive(&mut self) -> bool {
        let is_lost = self.away.is_lost();
        self.owed.forgive(is_lost)
    }

    /// Handles a returned slot. The session has checked that the worker owns it and that `value` is
    /// next.
    fn freed(&mut self, slot: usize, value: u64) {
        let held = self.held.remove(&slot);
        if self.is_host() {
            self.away.freed(slot, None);
            return;
        }
        let Some(Drawn { frame, seen: after, .. }) = held.filter(|_| self.away.freed(slot, Some(value))) else {
            self.broken = Some(format!("it gave back slot {slot} with value {value}, which is not the next value"));
            return;
        };
        self.owed.announced(Announced { frame, slot, value, after }, frame, Instant::now());
    }

    /// Processes the values that the worker has reached, and returns its next submitted frame.
    ///
    /// # Errors
    /// A description of what is wrong with the worker's timeline.
    fn show(&mut self) -> Result<Option<Handed>, String> {
        while self.owed.count() > 0 {
            let value = self.away.computed();
            let reached = value.as_ref().map_or(0, |value| *value);
            let is_known = value.is_ok();
            blame("the timeline of its slots cannot be used", value.map(drop), &self.away)?;
            if !is_known && self.forgive() {
                break;
            }
            if self.owed.reached(reached, Instant::now()).is_none() {
                break;
            }
            self.patience.renew();
        }
        if !self.is_open || self.owed.count() >= most_owed(self.away.count()) {
            return Ok(None);
        }
        let sent = self.away.send_away();
        let drawn = sent.as_ref().ok().copied().flatten();
        blame("a frame cannot be shown on its timeline", sent.map(drop), &self.away)?;
        let Some(drawn) = drawn else { return Ok(None) };
        self.held.insert(drawn.slot, drawn);
        Ok(Some(Handed { slot: drawn.slot, frame: Some(drawn.frame), value: drawn.value }))
    }

    /// Lets the compute thread copy the submitted frames, and returns the oldest copied frame for
    /// the worker.
    ///
    /// # Errors
    /// A description of why the worker's memory cannot be written, because it was changed.
    fn copy(&mut self) -> Result<Option<Handed>, String> {
        while self.is_open
            // `send_away` makes no signal for it, and therefore does not fail.
            && let Ok(Some(drawn)) = self.away.send_away()
        {
            self.begin(drawn);
        }
        while let Some(Copying { drawn, end }) = self.copies.pop_front_if(|copying| copying.end.result().is_some()) {
            match end.result() {
                Some(Ok(())) if self.is_open => {
                    self.given += 1;
                    self.held.insert(drawn.slot, drawn);
                    return Ok(Some(Handed { slot: drawn.slot, frame: Some(drawn.frame), value: self.given }));
                }
                Some(Err(error)) if self.away.side().check_alive().is_ok() => return Err(error),
                // The compute thread has failed, which is not the worker's fault.
                _ => self.away.come_back(drawn.slot),
            }
        }
        Ok(None)
    }

    fn begin(&mut self, drawn: Drawn) {
        let Some(files) = self.files.as_ref().and_then(|files| files.get(drawn.slot)) else {
            // Unreachable: the exchange has as many slots as the worker.
            return self.away.come_back(drawn.slot);
        };
        let end = CopyEnd::new(&self.wake);
        let mut copy = Copy::new(files, &end);
        #[cfg(test)]
        let drawn = if self.copies_unordered { Drawn { value: 0, ..drawn } } else { drawn };
        // If the copy cannot be enqueued, it has already ended with an error.
        self.copies.push_back(Copying { drawn, end });
        if let Err(error) = self.away.copy_out(drawn, move |place, run: &mut [u8]| copy.copy(place, run)) {
            log_warn!("exchange \"{}\": frame {} is not shown: {error}", self.away.exchange(), drawn.frame);
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

#[cfg(test)]
#[path = "lost_tests.rs"]
mod lost_tests;

#[cfg(test)]
#[path = "refused_tests.rs"]
mod refused_tests;

#[cfg(test)]
#[path = "host_tests.rs"]
mod host_tests;
