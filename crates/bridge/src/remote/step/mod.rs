//! Workers that write in step: each frame arrives once and in order, and values are announced
//! before they are reached.
//!
//! The program gets a frame as soon as it is announced, and its commands wait on the GPU. If the
//! worker computes with CUDA, its stream signals the exchange's own timeline, and waits for
//! Vulkan's. A worker on the CPU fills its own memory: once it reports that a frame is done, the
//! compute thread copies the frame into the slot and signals in the worker's place.
//!
//! An announced frame must be finished within the limit (`owed`); otherwise the worker is killed.
//! The values that it owes are signaled here once its process has ended; on the CPU, once its
//! connection has ended.
#![allow(unsafe_code)] // Signals in the place of a process that has ended.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_ipc::{Backend, Direction, Message};

use super::copy::{Copy, CopyEnd, Files};
use super::memory::{Given, Memory, memory};
use super::owed::{Frame, Owed};
use super::part::{
    End, Handed, LOOK, Outcome, Part, Patience, RETRY, Settled, TakenBack, await_settled, blame, index, release_gpu,
};
use super::terms::{EXCHANGE, Terms, most_owed};
use super::wake::Wake;
use crate::error::Result;
use crate::exchange::resources::Resources;
use crate::exchange::{Announced, Away, StepAway};
use crate::observe::log_warn;

/// The part for a worker that writes in step.
pub(super) struct Step<R: Resources> {
    away: StepAway<R>,
    owed: Owed,
    /// The memory of the worker's slots, if it computes on the CPU.
    files: Option<Files>,
    /// Frames that the worker has filled and that the compute thread is copying.
    copies: VecDeque<Copying>,
    /// The highest value of `rendered` that was sent to the worker.
    freed: u64,
    /// The value that was last sent with each slot.
    told: BTreeMap<usize, u64>,
    /// Violation by the worker, which the next `advance` returns.
    broken: Option<String>,
    /// Whether the worker is given slots.
    is_open: bool,
    wake: Arc<Wake>,
    /// Whether a slot becomes the worker's once the commands that an engine has submitted have
    /// ended.
    ending: bool,
    taken_back: TakenBack,
    patience: Patience,
    /// Negative control of the tests: nothing is signaled in the worker's place.
    #[cfg(test)]
    pub(in crate::remote) signals_nothing: bool,
}

struct Copying {
    announced: Announced,
    end: Arc<CopyEnd>,
}

impl<R: Resources> End for StepAway<R> {
    const DIRECTION: Direction = Direction::WorkerWrites;
    const TRUST: bool = true;
    type Part = Step<R>;

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

impl<R: Resources> Part for Step<R> {
    type End = StepAway<R>;
    type Slots = ();

    fn new(away: StepAway<R>, given: Given<()>, wake: &Arc<Wake>) -> Self {
        let files = match given {
            Given::Files(files) => Some(files),
            Given::Slots(()) => None,
        };
        Self {
            away,
            owed: Owed::new(Instant::now()),
            files,
            copies: VecDeque::new(),
            freed: 0,
            told: BTreeMap::new(),
            broken: None,
            is_open: true,
            wake: Arc::clone(wake),
            ending: false,
            taken_back: TakenBack::default(),
            patience: Patience::new(),
            #[cfg(test)]
            signals_nothing: false,
        }
    }

    fn hear(&mut self, said: &Message) -> Option<Outcome> {
        self.patience.renew();
        match *said {
            Message::Publish { slot, frame, value, .. } => self.announced(index(slot), frame, value),
            Message::Done { .. } => self.done(),
            Message::Torn { frame, .. } => {
                if let Some(torn) = self.owed.torn(frame) {
                    if self.taken_back.is_first() {
                        log_warn!(
                            "exchange \"{}\": the worker reports that frame {torn} is torn",
                            self.away.exchange()
                        );
                    }
                    self.away.withdraw(|frame| frame == torn);
                }
            }
            // The session allows no other message of a writer.
            _ => {}
        }
        None
    }

    fn advance(&mut self) -> Result<Option<Outcome>, String> {
        if let Some(broken) = self.broken.take() {
            return Err(broken);
        }
        let whole = match self.is_host() {
            true => self.copied()?,
            false => self.reached()?,
        };
        let handed = if whole.is_none() { self.give() } else { None };
        Ok((whole.is_some() || handed.is_some()).then_some(Outcome { published: whole, handed }))
    }

    fn is_busy(&self) -> bool {
        self.owed.count() > 0 || !self.copies.is_empty()
    }

    fn retry(&self) -> Option<Duration> {
        let looks = if self.is_host() { LOOK } else { LOOK.min(self.patience.sleep()) };
        let owed = (self.owed.count() > 0).then_some(looks);
        let unseen = (self.is_open && self.away.waits_unseen()).then_some(RETRY);
        let ending = (self.is_open && self.ending).then(|| self.patience.sleep());
        owed.into_iter().chain(unseen).chain(ending).min()
    }

    fn close(&mut self) {
        self.is_open = false;
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
        // On the CPU, the worker does not wait for Vulkan.
        let rendered = if self.is_host() { u64::MAX } else { self.away.rendered().unwrap_or(u64::MAX) };
        let Frame { announced: Announced { frame, value, .. }, .. } =
            self.owed.overrun(rendered, leaves, limit, Instant::now())?;
        if self.forgive() {
            return None;
        }
        Some(format!("has not finished frame {frame}, which it had announced with value {value}, within {limit:?}"))
    }

    fn is_waited_for(&self) -> bool {
        self.owed.count() > 0
    }

    fn waited_for(&self) -> Box<[u64]> {
        self.owed.frames()
    }

    fn settle(&mut self, dead: bool) -> Settled {
        if self.owed.count() == 0 || !dead && !self.is_host() {
            return Settled::default();
        }
        let owed = self.owed.take();
        let value = owed.last().map(|frame| frame.announced.value);
        let torn: Box<[_]> = owed.iter().map(|frame| frame.announced.frame).collect();
        // Withdrawn before the signals: the program gets none of them from here on.
        self.away.withdraw(|frame| torn.contains(&frame));
        match owed.last() {
            #[cfg(test)]
            _ if self.signals_nothing => {}
            Some(last) if self.is_host() => self.away.signal(last.announced.value),
            // SAFETY: the process has ended (`dead`).
            _ => unsafe { release_gpu(&self.away) },
        }
        Settled { torn, value }
    }

    fn stop(self, quiet: bool) -> (StepAway<R>, bool) {
        self.taken_back.tell(self.away.exchange());
        // A worker on the CPU has its own memory, and uses no slots of the exchange.
        let quiet = quiet || self.is_host();
        if quiet {
            super::part::recover(&self.away);
        }
        (self.away, quiet)
    }
}

impl<R: Resources> Step<R> {
    fn is_host(&self) -> bool {
        self.files.is_some()
    }

    /// If the device is lost, drops the values that a worker with CUDA owes: they are of no use,
    /// and could not be observed. Returns `true` if it is lost.
    fn forgive(&mut self) -> bool {
        let is_lost = !self.is_host() && self.away.is_lost();
        self.owed.forgive(is_lost)
    }

    /// Handles an announced frame. The session has checked its number, its value and the slot's
    /// owner.
    fn announced(&mut self, slot: usize, number: u64, value: u64) {
        match self.away.announce(slot) {
            Some(mut announced) => {
                // The stream waits for the value that was sent, which may exceed that of the slot.
                announced.after = announced.after.max(self.told.get(&slot).copied().unwrap_or(0));
                self.owed.announced(announced, number, Instant::now());
                // On the CPU, each worker counts from 1, and the exchange's timeline continues.
                if !self.is_host() && announced.value != value {
                    let expected = announced.value;
                    self.broken = Some(format!("it announced value {value}, but {expected} is next"));
                }
            }
            None => self.broken = Some(format!("it announced a frame in slot {slot}, which it does not hold")),
        }
    }

    /// Handles the report that the oldest frame is filled, which the session has checked.
    fn done(&mut self) {
        let Some(Frame { announced, torn, .. }) = self.owed.finish(Instant::now()) else { return };
        let end = CopyEnd::new(&self.wake);
        let files = self.files.as_ref().and_then(|files| files.get(announced.slot)).filter(|_| !torn);
        let copy = files.map(|files| Copy::new(files, &end));
        let copies = copy.is_some();
        let filled = self.away.fill(announced, copy.map(|mut copy| move |place, run: &mut [u8]| copy.copy(place, run)));
        if let Err(error) = filled {
            log_warn!("exchange \"{}\": frame {} is lost: {error}", self.away.exchange(), announced.frame);
        } else if copies {
            self.copies.push_back(Copying { announced, end });
        }
    }

    /// Returns the oldest frame whose copy has ended.
    ///
    /// # Errors
    /// A description of why the worker's memory cannot be read, because it was changed.
    fn copied(&mut self) -> Result<Option<u64>, String> {
        while let Some(ended) = self.copies.pop_front_if(|copying| copying.end.result().is_some()) {
            match ended.end.result() {
                Some(Ok(())) => return Ok(Some(ended.announced.frame)),
                Some(Err(error)) if self.away.side().check_alive().is_ok() => return Err(error),
                // The compute thread has failed, which is not the worker's fault.
                _ => {}
            }
        }
        Ok(None)
    }

    /// Returns the oldest frame that the worker's GPU has finished and that was not returned yet.
    fn reached(&mut self) -> Result<Option<u64>, String> {
        while self.owed.count() > 0 {
            let value = self.away.computed();
            let reached = value.as_ref().map_or(0, |value| *value);
            let is_known = value.is_ok();
            blame("the timeline of its frames cannot be used", value.map(drop), &self.away)?;
            if !is_known && self.forgive() {
                break;
            }
            let Some(frame) = self.owed.reached(reached, Instant::now()) else { break };
            self.patience.renew();
            if !frame.torn {
                return Ok(Some(frame.announced.frame));
            }
        }
        Ok(None)
    }

    /// Returns a slot that the worker owns from now on: Vulkan's commands with it were submitted
    /// and, on the CPU, where the worker has its own memory, its last frame was copied.
    fn give(&mut self) -> Option<Handed> {
        if !self.is_open {
            return None;
        }
        let is_host = self.is_host();
        // On the CPU, a slot is not given while its frame is owed or being copied.
        let (owed, copies) = (&self.owed, &self.copies);
        let in_use = |slot| owed.has(slot) || copies.iter().any(|copying| copying.announced.slot == slot);
        if owed.count() >= most_owed(self.away.count()) {
            return None;
        }
        let sent = self.away.send_away(|slot| !is_host || !in_use(slot));
        let was_ending = std::mem::replace(&mut self.ending, self.away.waits_for_engine());
        if self.ending && !was_ending {
            self.patience.renew();
        }
        let (slot, after) = sent?;
        if is_host {
            return Some(Handed { slot, frame: None, value: 0 });
        }
        // A skipped frame has an older value, but the values that are sent must not fall.
        self.freed = self.freed.max(after);
        self.told.insert(slot, self.freed);
        Some(Handed { slot, frame: None, value: self.freed })
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

#[cfg(test)]
#[path = "mirror_tests.rs"]
mod mirror_tests;

#[cfg(test)]
#[path = "host_tests.rs"]
mod host_tests;
