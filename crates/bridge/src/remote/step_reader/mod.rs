//! Workers that read in step: they get each frame once and in order, and values are announced
//! before they are reached.
//!
//! With CUDA, the worker gets a frame as soon as it is submitted: its stream waits for Vulkan's
//! commands on the GPU. It returns the slot with a value that its stream signals, and Vulkan's next
//! commands that use the slot wait for that value. For a worker on the CPU, the compute thread
//! copies the frame into memory that the worker reads, and no submission waits for the worker.
//!
//! A worker that does not reach an announced value within the limit (`pending_signals`) is killed.
//! Once its process has ended, the value is signaled by this process.
#![allow(unsafe_code)] // Signals in the place of a process that has ended.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_ipc::{Backend, Direction, Message};

use super::copy::{CopyResult, CopyTask, SlotFiles};
use super::falls::{awaited_frames, describe_fall, is_relied_on};
use super::memory::{AcceptedMemory, OfferedMemory, memory};
use super::part::{
    Backoff, CHECK_INTERVAL, HandedSlot, Outcome, Part, Settled, WorkerHandle, index, reached_value, reclaim_slots,
    release_gpu, worker_fault,
};
use super::pending_frames::PendingFrames;
use super::renewal::renew_timelines;
use super::terms::{EXCHANGE, Terms, max_pending};
use super::wake::Waker;
use crate::error::Result;
use crate::exchange::{Announcement, RemoteDraws, RemoteHandle, SubmittedFrame, WorkerReader};
use crate::observe::log_warn;
use crate::resources::Resources;

/// The frames for a worker that reads in step.
pub(super) struct StepReaderPart<R: Resources> {
    handle: WorkerReader<R>,
    draws: Arc<RemoteDraws<R>>,
    /// Slots that the worker has returned but is not finished with.
    pending: PendingFrames,
    /// The frames that the worker holds, by slot.
    held: BTreeMap<usize, SubmittedFrame>,
    /// The memory that the worker reads, if it computes on the CPU.
    files: Option<SlotFiles>,
    /// Frames that the compute thread is copying.
    copies: VecDeque<Copying>,
    /// Number of frames that were copied for the worker.
    given_count: u64,
    /// Violation by the worker, which the next `advance` returns.
    violation: Option<String>,
    /// `false` once the worker gets no more frames.
    is_open: bool,
    waker: Arc<Waker>,
    backoff: Backoff,
    /// Negative control of the tests: nothing is signaled in the worker's place.
    #[cfg(test)]
    pub(in crate::remote) signals_nothing: bool,
    /// Negative control of the order: copies do not wait for anything.
    #[cfg(test)]
    copies_unordered: bool,
}

struct Copying {
    drawn: SubmittedFrame,
    end: Arc<CopyResult>,
}

impl<R: Resources> WorkerHandle for WorkerReader<R> {
    const DIRECTION: Direction = Direction::RendererWrites;
    const TRUST: bool = true;
    type Part = StepReaderPart<R>;

    fn memory(&self, terms: &Terms) -> Result<OfferedMemory<'_, ()>> {
        memory(self, terms, || Ok((self.export_timelines(EXCHANGE)?, ())))
    }

    fn prepare(&mut self, backend: Backend, limit: Duration, check_wanted: &dyn Fn() -> Result<()>) -> Result<()> {
        // SAFETY: by this function's contract, the earlier workers have ended or closed the
        // exchange.
        unsafe { renew_timelines(self, backend, limit, check_wanted, Self::renew) }
    }
}

impl<R: Resources> Part for StepReaderPart<R> {
    type Handle = WorkerReader<R>;
    type Slots = ();

    fn new(handle: WorkerReader<R>, given: AcceptedMemory<()>, waker: &Arc<Waker>) -> Self {
        let files = match given {
            AcceptedMemory::Files(files) => Some(files),
            AcceptedMemory::Slots(()) => None,
        };
        let draws = handle.draws();
        // From here on, a worker reads the frames.
        draws.set_open(true);
        Self {
            handle,
            draws,
            pending: PendingFrames::new(Instant::now()),
            held: BTreeMap::new(),
            files,
            copies: VecDeque::new(),
            given_count: 0,
            violation: None,
            is_open: true,
            waker: Arc::clone(waker),
            backoff: Backoff::new(),
            #[cfg(test)]
            signals_nothing: false,
            #[cfg(test)]
            copies_unordered: false,
        }
    }

    fn handle_message(&mut self, message: &Message) -> Option<Outcome> {
        self.backoff.reset();
        // The session allows no other message of a reader.
        if let &Message::Free { slot, value, .. } = message {
            self.handle_free(index(slot), value);
        }
        None
    }

    fn advance(&mut self) -> Result<Option<Outcome>, String> {
        if let Some(violation) = self.violation.take() {
            return Err(violation);
        }
        let handed = if self.is_host() { self.next_copied()? } else { self.next_visible()? };
        Ok(handed.map(|handed| Outcome { published: None, handed: Some(handed) }))
    }

    fn is_busy(&self) -> bool {
        self.pending.len() > 0
    }

    fn has_frames_to_send(&self) -> bool {
        // Frames that an engine submits itself are given once the host has observed their end.
        let drawing = !self.is_host() && self.handle.waits_for_engine();
        drawing && self.pending.len() < max_pending(self.handle.count()) || !self.copies.is_empty()
    }

    fn retry_delay(&self) -> Option<Duration> {
        if self.is_host() {
            // Copies wake the thread.
            return None;
        }
        let pending = (self.pending.len() > 0).then(|| CHECK_INTERVAL.min(self.backoff.delay()));
        let drawing = (self.is_open && self.handle.waits_for_engine()).then(|| self.backoff.delay());
        let relied_on = is_relied_on(&self.handle, &self.pending).then_some(CHECK_INTERVAL);
        pending.into_iter().chain(drawing).chain(relied_on).min()
    }

    fn close(&mut self) {
        self.is_open = false;
        self.draws.set_open(false);
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
        let rendered = self.handle.rendered().unwrap_or(u64::MAX);
        let Announcement { frame, value, .. } =
            self.pending.find_overrun(rendered, leaves, limit, Instant::now())?.announced;
        if self.handle.is_lost() {
            self.pending.clear();
            return None;
        }
        Some(format!(
            "gave back the slot of frame {frame} with value {value}, but did not reach that value within {limit:?}"
        ))
    }

    fn awaited_frames(&self) -> Box<[u64]> {
        awaited_frames(&self.handle, &self.pending)
    }

    fn settle_pending(&mut self, dead: bool) -> Settled {
        // On the CPU, nothing is owed.
        if self.is_host() || !dead {
            return Settled::default();
        }
        let last = self.pending.take_all().last().copied();
        let value = last.map(|last| last.announced.value);
        #[cfg(test)]
        if self.signals_nothing {
            return Settled { torn: Box::default(), value };
        }
        // SAFETY: the process has ended (`dead`).
        unsafe { release_gpu(&self.handle) };
        self.pending.set_reached(last);
        // All frames are complete, since the worker only reads them.
        Settled { torn: Box::default(), value }
    }

    fn stop(self, quiet: bool) -> (WorkerReader<R>, bool) {
        // A worker on the CPU has its own memory, and uses no slots of the exchange.
        let quiet = quiet || self.is_host();
        if quiet {
            reclaim_slots(&self.handle);
        }
        (self.handle, quiet)
    }
}

impl<R: Resources> StepReaderPart<R> {
    fn is_host(&self) -> bool {
        self.files.is_some()
    }

    /// Handles a returned slot. The session has checked that the worker owns it and that `value` is
    /// next.
    fn handle_free(&mut self, slot: usize, value: u64) {
        let held = self.held.remove(&slot);
        if self.is_host() {
            self.handle.reclaim_after(slot, None);
            return;
        }
        let Some(SubmittedFrame { frame, visible_at: after, .. }) =
            held.filter(|_| self.handle.reclaim_after(slot, Some(value)))
        else {
            self.violation = Some(format!("it gave back slot {slot} with value {value}, which is not the next value"));
            return;
        };
        self.pending.push(Announcement { frame, slot, value, after }, frame, Instant::now());
    }

    /// Processes the values that the worker has reached, and returns its next submitted frame.
    ///
    /// # Errors
    /// A description of what is wrong with the worker's timeline.
    fn next_visible(&mut self) -> Result<Option<HandedSlot>, String> {
        while self.pending.len() > 0 {
            let what = "the timeline of its slots cannot be used";
            let Some(reached) = reached_value(what, &self.handle, &mut self.pending)? else { break };
            if self.pending.pop_reached(reached, Instant::now()).is_none() {
                break;
            }
            self.backoff.reset();
        }
        if !self.is_open || self.pending.len() >= max_pending(self.handle.count()) {
            return Ok(None);
        }
        let sent = self.handle.send_frame();
        let drawn = sent.as_ref().ok().copied().flatten();
        worker_fault("a frame cannot be shown on its timeline", sent.map(drop), &self.handle)?;
        let Some(drawn) = drawn else { return Ok(None) };
        self.held.insert(drawn.slot, drawn);
        Ok(Some(HandedSlot { slot: drawn.slot, frame: Some(drawn.frame), value: drawn.value }))
    }

    /// Lets the compute thread copy the submitted frames, and returns the oldest copied frame for
    /// the worker.
    ///
    /// # Errors
    /// A description of why the worker's memory cannot be written, because it was changed.
    fn next_copied(&mut self) -> Result<Option<HandedSlot>, String> {
        while self.is_open
            // `send_frame` makes no signal for it, and therefore does not fail.
            && let Ok(Some(drawn)) = self.handle.send_frame()
        {
            self.begin_copy(drawn);
        }
        while let Some(Copying { drawn, end }) = self.copies.pop_front_if(|copying| copying.end.result().is_some()) {
            match end.result() {
                Some(Ok(())) if self.is_open => {
                    self.given_count += 1;
                    self.held.insert(drawn.slot, drawn);
                    return Ok(Some(HandedSlot {
                        slot: drawn.slot,
                        frame: Some(drawn.frame),
                        value: self.given_count,
                    }));
                }
                Some(Err(error)) if self.handle.side().check_alive().is_ok() => return Err(error),
                // The compute thread has failed, which is not the worker's fault.
                _ => self.handle.reclaim(drawn.slot),
            }
        }
        Ok(None)
    }

    fn begin_copy(&mut self, drawn: SubmittedFrame) {
        let Some(files) = self.files.as_ref().and_then(|files| files.get(drawn.slot)) else {
            // Unreachable: the exchange has as many slots as the worker.
            return self.handle.reclaim(drawn.slot);
        };
        let end = CopyResult::new(&self.waker);
        let mut copy = CopyTask::new(files, &end);
        #[cfg(test)]
        let drawn = if self.copies_unordered { SubmittedFrame { value: 0, ..drawn } } else { drawn };
        // If the copy cannot be enqueued, it has already ended with an error.
        self.copies.push_back(Copying { drawn, end });
        if let Err(error) = self.handle.copy_out(drawn, move |place, run: &mut [u8]| copy.copy(place, run)) {
            log_warn!("exchange \"{}\": frame {} is not shown: {error}", self.handle.exchange(), drawn.frame);
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
