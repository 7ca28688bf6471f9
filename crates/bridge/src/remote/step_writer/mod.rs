//! Workers that write in step: each frame arrives once and in order, and values are announced
//! before they are reached.
//!
//! The program gets a frame as soon as it is announced, and its commands wait on the GPU. If the
//! worker computes with CUDA, its stream signals the exchange's own timeline, and waits for
//! Vulkan's. A worker on the CPU fills its own memory: once it reports that a frame is done, the
//! compute thread copies the frame into the slot and signals in the worker's place.
//!
//! An announced frame must be finished within the limit (`pending_signals`); otherwise the worker
//! is killed. The values that it owes are signaled here once its process has ended; on the CPU,
//! once its connection has ended.
#![allow(unsafe_code)] // Signals in the place of a process that has ended.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_ipc::{Backend, Direction, Message};

use super::copy::{CopyResult, CopyTask, SlotFiles};
use super::falls::{awaited_frames, describe_fall, is_relied_on};
use super::memory::{AcceptedMemory, OfferedMemory, memory};
use super::part::{
    Backoff, CHECK_INTERVAL, HandedSlot, Outcome, Part, RETRY_INTERVAL, Settled, TornFrames, WorkerHandle, index,
    reached_value, release_gpu,
};
use super::pending_frames::{PendingFrame, PendingFrames};
use super::renewal::renew_timelines;
use super::terms::{EXCHANGE, Terms, max_pending};
use super::wake::Waker;
use crate::error::Result;
use crate::exchange::{Announcement, RemoteHandle, WorkerWriter};
use crate::observe::log_warn;
use crate::resources::Resources;

/// The part for a worker that writes in step.
pub(super) struct StepWriterPart<R: Resources> {
    handle: WorkerWriter<R>,
    pending: PendingFrames,
    /// The memory of the worker's slots, if it computes on the CPU.
    files: Option<SlotFiles>,
    /// Frames that the worker has filled and that the compute thread is copying.
    copies: VecDeque<Copying>,
    /// The highest value of `rendered` that was sent to the worker.
    last_freed_value: u64,
    /// The value that was last sent with each slot.
    sent_values: BTreeMap<usize, u64>,
    /// Violation by the worker, which the next `advance` returns.
    violation: Option<String>,
    /// `false` once the worker gets no more slots.
    is_open: bool,
    waker: Arc<Waker>,
    /// `true` if a slot becomes the worker's once the commands that an engine has submitted have
    /// ended.
    awaits_timeline: bool,
    torn_frames: TornFrames,
    backoff: Backoff,
    /// Negative control of the tests: nothing is signaled in the worker's place.
    #[cfg(test)]
    pub(in crate::remote) signals_nothing: bool,
}

struct Copying {
    announced: Announcement,
    end: Arc<CopyResult>,
}

impl<R: Resources> WorkerHandle for WorkerWriter<R> {
    const DIRECTION: Direction = Direction::WorkerWrites;
    const TRUST: bool = true;
    type Part = StepWriterPart<R>;

    fn memory(&self, terms: &Terms) -> Result<OfferedMemory<'_, ()>> {
        memory(self, terms, || Ok((self.export_timelines(EXCHANGE)?, ())))
    }

    fn prepare(&mut self, backend: Backend, limit: Duration, check_wanted: &dyn Fn() -> Result<()>) -> Result<()> {
        // SAFETY: by this function's contract, the earlier workers have ended or closed the
        // exchange.
        unsafe { renew_timelines(self, backend, limit, check_wanted, Self::renew) }
    }
}

impl<R: Resources> Part for StepWriterPart<R> {
    type Handle = WorkerWriter<R>;
    type Slots = ();

    fn new(handle: WorkerWriter<R>, given: AcceptedMemory<()>, waker: &Arc<Waker>) -> Self {
        let files = match given {
            AcceptedMemory::Files(files) => Some(files),
            AcceptedMemory::Slots(()) => None,
        };
        Self {
            handle,
            pending: PendingFrames::new(Instant::now()),
            files,
            copies: VecDeque::new(),
            last_freed_value: 0,
            sent_values: BTreeMap::new(),
            violation: None,
            is_open: true,
            waker: Arc::clone(waker),
            awaits_timeline: false,
            torn_frames: TornFrames::default(),
            backoff: Backoff::new(),
            #[cfg(test)]
            signals_nothing: false,
        }
    }

    fn handle_message(&mut self, message: &Message) -> Option<Outcome> {
        self.backoff.reset();
        match *message {
            Message::Publish { slot, frame, value, .. } => self.handle_publish(index(slot), frame, value),
            Message::Done { .. } => self.handle_done(),
            Message::Torn { frame, .. } => {
                if let Some(torn) = self.pending.mark_torn(frame) {
                    if self.torn_frames.add() {
                        log_warn!(
                            "exchange \"{}\": the worker reports that frame {torn} is torn",
                            self.handle.exchange()
                        );
                    }
                    self.handle.withdraw(|frame| frame == torn);
                }
            }
            // The session allows no other message of a writer.
            _ => {}
        }
        None
    }

    fn advance(&mut self) -> Result<Option<Outcome>, String> {
        if let Some(violation) = self.violation.take() {
            return Err(violation);
        }
        let whole = match self.is_host() {
            true => self.next_copied()?,
            false => self.next_reached()?,
        };
        let handed = if whole.is_none() { self.next_free_slot() } else { None };
        Ok((whole.is_some() || handed.is_some()).then_some(Outcome { published: whole, handed }))
    }

    fn is_busy(&self) -> bool {
        self.pending.len() > 0 || !self.copies.is_empty()
    }

    fn retry_delay(&self) -> Option<Duration> {
        let looks = if self.is_host() { CHECK_INTERVAL } else { CHECK_INTERVAL.min(self.backoff.delay()) };
        let pending = (self.pending.len() > 0).then_some(looks);
        let unseen = (self.is_open && self.handle.needs_polling()).then_some(RETRY_INTERVAL);
        let ending = (self.is_open && self.awaits_timeline).then(|| self.backoff.delay());
        let relied_on = is_relied_on(&self.handle, &self.pending).then_some(CHECK_INTERVAL);
        pending.into_iter().chain(unseen).chain(ending).chain(relied_on).min()
    }

    fn close(&mut self) {
        self.is_open = false;
    }

    fn pending_signals(&self) -> usize {
        self.pending.len()
    }

    fn needs_worker(&self) -> bool {
        !self.is_host()
    }

    fn release(&mut self) {
        if let Some(files) = &mut self.files {
            *files = SlotFiles::default();
        }
    }

    fn describe_overrun(&mut self, limit: Duration, leaves: bool) -> Option<String> {
        if self.pending.len() == 0 {
            return describe_fall(&self.handle, &self.pending);
        }
        // On the CPU, the worker does not wait for Vulkan.
        let rendered = if self.is_host() { u64::MAX } else { self.handle.rendered().unwrap_or(u64::MAX) };
        let PendingFrame { announced: Announcement { frame, value, .. }, .. } =
            self.pending.find_overrun(rendered, leaves, limit, Instant::now())?;
        if !self.is_host() && self.handle.is_lost() {
            self.pending.clear();
            return None;
        }
        Some(format!("has not finished frame {frame}, which it had announced with value {value}, within {limit:?}"))
    }

    fn awaited_frames(&self) -> Box<[u64]> {
        awaited_frames(&self.handle, &self.pending)
    }

    fn settle_pending(&mut self, dead: bool) -> Settled {
        if !dead && !self.is_host() {
            return Settled::default();
        }
        let pending = self.pending.take_all();
        let value = pending.last().map(|frame| frame.announced.value);
        let torn: Box<[_]> = pending.iter().map(|frame| frame.announced.frame).collect();
        // Withdrawn before the signals: the program gets none of them from here on.
        self.handle.withdraw(|frame| torn.contains(&frame));
        let settled = Settled { torn, value };
        #[cfg(test)]
        if self.signals_nothing {
            return settled;
        }
        if !self.is_host() {
            // SAFETY: the process has ended (`dead`).
            unsafe { release_gpu(&self.handle) };
            self.pending.set_reached(pending.last().copied());
        } else if let Some(value) = value {
            self.handle.signal(value);
        }
        settled
    }

    fn stop(self, quiet: bool) -> (WorkerWriter<R>, bool) {
        self.torn_frames.log_total(self.handle.exchange());
        // A worker on the CPU has its own memory, and uses no slots of the exchange.
        let quiet = quiet || self.is_host();
        if quiet {
            super::part::reclaim_slots(&self.handle);
        }
        (self.handle, quiet)
    }
}

impl<R: Resources> StepWriterPart<R> {
    fn is_host(&self) -> bool {
        self.files.is_some()
    }

    /// Handles an announced frame. The session has checked its number, its value and the slot's
    /// owner.
    fn handle_publish(&mut self, slot: usize, number: u64, value: u64) {
        match self.handle.announce(slot) {
            Some(mut announced) => {
                // The stream waits for the value that was sent, which may exceed that of the slot.
                announced.after = announced.after.max(self.sent_values.get(&slot).copied().unwrap_or(0));
                self.pending.push(announced, number, Instant::now());
                // On the CPU, each worker counts from 1, and the exchange's timeline continues.
                if !self.is_host() && announced.value != value {
                    let expected = announced.value;
                    self.violation = Some(format!("it announced value {value}, but {expected} is next"));
                }
            }
            None => self.violation = Some(format!("it announced a frame in slot {slot}, which it does not hold")),
        }
    }

    /// Handles the report that the oldest frame is filled, which the session has checked.
    fn handle_done(&mut self) {
        let Some(PendingFrame { announced, torn, .. }) = self.pending.pop(Instant::now()) else { return };
        let end = CopyResult::new(&self.waker);
        let files = self.files.as_ref().and_then(|files| files.get(announced.slot)).filter(|_| !torn);
        let copy = files.map(|files| CopyTask::new(files, &end));
        let copies = copy.is_some();
        let filled =
            self.handle.fill(announced, copy.map(|mut copy| move |place, run: &mut [u8]| copy.copy(place, run)));
        if let Err(error) = filled {
            log_warn!("exchange \"{}\": frame {} is lost: {error}", self.handle.exchange(), announced.frame);
        } else if copies {
            self.copies.push_back(Copying { announced, end });
        }
    }

    /// Returns the oldest frame whose copy has ended.
    ///
    /// # Errors
    /// A description of why the worker's memory cannot be read, because it was changed.
    fn next_copied(&mut self) -> Result<Option<u64>, String> {
        while let Some(ended) = self.copies.pop_front_if(|copying| copying.end.result().is_some()) {
            match ended.end.result() {
                Some(Ok(())) => return Ok(Some(ended.announced.frame)),
                Some(Err(error)) if self.handle.side().check_alive().is_ok() => return Err(error),
                // The compute thread has failed, which is not the worker's fault.
                _ => {}
            }
        }
        Ok(None)
    }

    /// Returns the oldest frame that the worker's GPU has finished and that was not returned yet.
    fn next_reached(&mut self) -> Result<Option<u64>, String> {
        while self.pending.len() > 0 {
            let what = "the timeline of its frames cannot be used";
            let Some(reached) = reached_value(what, &self.handle, &mut self.pending)? else { break };
            let Some(frame) = self.pending.pop_reached(reached, Instant::now()) else { break };
            self.backoff.reset();
            if !frame.torn {
                return Ok(Some(frame.announced.frame));
            }
        }
        Ok(None)
    }

    /// Returns a slot that the worker owns from now on: Vulkan's commands with it were submitted
    /// and, on the CPU, where the worker has its own memory, its last frame was copied.
    fn next_free_slot(&mut self) -> Option<HandedSlot> {
        if !self.is_open {
            return None;
        }
        let is_host = self.is_host();
        // On the CPU, a slot is not given while its frame is owed or being copied.
        let (pending, copies) = (&self.pending, &self.copies);
        let in_use = |slot| pending.contains_slot(slot) || copies.iter().any(|copying| copying.announced.slot == slot);
        if pending.len() >= max_pending(self.handle.count()) {
            return None;
        }
        let sent = self.handle.send_slot(|slot| !is_host || !in_use(slot));
        let was_ending = std::mem::replace(&mut self.awaits_timeline, self.handle.waits_for_engine());
        if self.awaits_timeline && !was_ending {
            self.backoff.reset();
        }
        let (slot, after) = sent?;
        if is_host {
            return Some(HandedSlot { slot, frame: None, value: 0 });
        }
        // A skipped frame has an older value, but the values that are sent must not fall.
        self.last_freed_value = self.last_freed_value.max(after);
        self.sent_values.insert(slot, self.last_freed_value);
        Some(HandedSlot { slot, frame: None, value: self.last_freed_value })
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
