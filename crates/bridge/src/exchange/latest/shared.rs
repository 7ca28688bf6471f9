//! State that the handles and the turns of a latest exchange share.
#![allow(unsafe_code)] // Submitting.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard, OnceLock};

use vk_export::ash::vk;

use super::info::LatestInfo;
use super::ledger::{ChosenFrame, Ledger, NewFrame, Refusal};
use super::shared_ledger::SharedLedger;
use crate::compute::Compute;
use crate::error::{Error, Result, Stage};
use crate::exchange::core::OnChange;
use crate::exchange::initial::InitialTurn;
use crate::exchange::ledger::FirstSide;
use crate::exchange::ledger::initial::InitialState;
use crate::exchange::ledger::refusal::Refusal as InStep;
use crate::exchange::state::State;
use crate::exchange::submit::SubmitInfo;
use crate::observe::log_error;
use crate::resources::Resources;
use crate::timeline::{BorrowedPoint, Timeline, TimelinePoint};

/// State that the handles and the turns of a latest exchange share.
pub(crate) struct Shared<R: Resources> {
    ledger: SharedLedger,
    /// Called when this process's side gives a slot back or publishes a frame; set if the other
    /// side is in another process.
    on_change: OnceLock<OnChange>,
    writer_dropped: AtomicBool,
    reader_dropped: AtomicBool,
    #[cfg_attr(
        not(all(target_os = "linux", feature = "remote")),
        expect(dead_code, reason = "workers are Linux-only")
    )]
    writer_in_flight: usize,
    /// Slots, timelines, barriers and mappings. Its own ledger manages the values of the timelines,
    /// but not the slots.
    pub(super) state: Arc<State<R>>,
    pub(super) resources: R,
}

impl<R: Resources> Shared<R> {
    pub(super) fn new(compute: &Compute, info: &LatestInfo<'_>, resources: R, first: FirstSide) -> Result<Arc<Self>> {
        info.validate()?;
        let own = compute.with_new_stream(&format!("latest exchange \"{}\"", info.name))?;
        // Created first, because this refuses an impossible number of slots.
        let state = State::new(&own, &info.exchange_info(), &resources, first)?;
        Ok(Arc::new(Self {
            ledger: SharedLedger::new(info.slot_count(), info.newest, info.writer_in_flight),
            on_change: OnceLock::new(),
            writer_dropped: AtomicBool::new(false),
            reader_dropped: AtomicBool::new(false),
            writer_in_flight: info.writer_in_flight,
            state,
            resources,
        }))
    }

    /// Locks the ledger, which is never held while the state's ledger is.
    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock()
    }

    /// Returns the timeline on which frames are published.
    fn written(&self) -> &Timeline {
        match self.state.first {
            FirstSide::Compute => &self.state.objects.computed,
            FirstSide::Render | FirstSide::RenderRemote => &self.state.objects.rendered,
        }
    }

    /// Takes the slot of the writer's next frame, once few enough frames of the writer are
    /// unfinished.
    pub(super) fn begin(&self) -> Result<NewFrame> {
        self.ensure_alive()?;
        self.state.free_finished();
        if self.state.ledger().initial() != InitialState::Done {
            return Err(Error::NotInitialized { exchange: self.state.name.clone() });
        }
        let wait = |value| self.state.check_failure(self.written().wait_value(value, self.state.timeout));
        let begun = self.ledger.begin(wait, || self.written().value().unwrap_or(0))?;
        begun.map_err(|refusal| self.refusal_error(refusal, self.writer_stage()))
    }

    /// Chooses the reader's frame. Does not block: a thread of the compute side makes the signal,
    /// if one is needed.
    pub(super) fn newest(&self) -> Result<Option<ChosenFrame>> {
        self.state.free_finished();
        let signal = |slot| self.state.enqueue_compute_signal(slot);
        let chosen = self.ledger.newest(|| self.written().value(), || self.ensure_alive(), signal)?;
        chosen.map_err(|refusal| self.refusal_error(refusal, self.reader_stage()))
    }

    pub(super) fn set_writer_dropped(&self) {
        self.writer_dropped.store(true, Ordering::Release);
    }

    pub(super) fn set_reader_dropped(&self) {
        self.reader_dropped.store(true, Ordering::Release);
    }

    /// Returns `true` once no further frame can be published.
    pub(super) fn is_writer_dropped(&self) -> bool {
        self.writer_dropped.load(Ordering::Acquire) && self.ledger().open_turns().0.is_none()
    }

    /// Returns `true` once no further frame can be read.
    pub(super) fn is_reader_dropped(&self) -> bool {
        self.reader_dropped.load(Ordering::Acquire) && self.ledger().open_turns().1.is_none()
    }

    /// Checks that the compute side has not failed, as far as earlier calls have noticed.
    fn ensure_alive(&self) -> Result<()> {
        let state = &self.state;
        if !state.compute.side().is_foreign() || state.failed.load(Ordering::Acquire) {
            return state.check_compute();
        }
        Ok(())
    }

    /// Publishes the frame in `slot`; the writer's timeline reaches `value` after it.
    pub(super) fn record_published(&self, slot: usize, value: u64) {
        self.ledger.publish(slot, value);
        self.notify_change();
    }

    /// Records that the reader's turn was submitted: the reader's timeline reaches `value` after
    /// it. With a `is_new` frame, the turn has given another slot back.
    pub(super) fn record_read(&self, value: u64, is_new: bool) {
        self.ledger().read(value);
        if is_new {
            self.notify_change();
        }
    }

    /// Records that the reader's turn was never submitted: its frame may be chosen again, or is
    /// superseded by now.
    pub(super) fn record_skipped(&self) {
        self.ledger().skip_read();
        self.notify_change();
    }

    /// Sets the callback. Only the first call has an effect.
    #[cfg(all(target_os = "linux", feature = "remote"))]
    pub(super) fn set_on_change(&self, on_change: OnChange) {
        let _ = self.on_change.set(on_change);
    }

    fn notify_change(&self) {
        if let Some(changed) = self.on_change.get() {
            changed();
        }
    }

    /// Returns the maximum number of slots that a reader in another process may hold: the writer
    /// keeps one for each of its frames in flight, and one for the newest finished frame.
    #[cfg(all(target_os = "linux", feature = "remote"))]
    pub(super) fn max_remote_slots(&self) -> usize {
        self.state.objects.slots.len().saturating_sub(self.writer_in_flight + 1)
    }

    /// Submits a frame's commands with waits for the points in `after`. `accepted` records the
    /// value of `rendered` that they signal.
    ///
    /// # Safety
    /// As [`RenderTurn::submit_with`](crate::RenderTurn::submit_with).
    pub(super) unsafe fn submit(
        &self,
        frame: u64,
        after: &[BorrowedPoint<'_>],
        info: &SubmitInfo<'_>,
        accepted: impl FnOnce(u64),
    ) -> Result<TimelinePoint> {
        let state = &self.state;
        let _order = state.lock_submissions()?;
        let value = state.ledger().next_rendered_value(frame).map_err(|refusal| state.refusal_error(refusal))?;
        // SAFETY: the value was taken under the lock that is held, and none is lent. The rest is
        // upheld by the caller.
        unsafe { state.submit_batch(after, value, info) }?;
        Ok(self.record_submission(value, after, accepted))
    }

    /// Records that a submission was accepted, and returns its point.
    pub(super) fn record_submission(
        &self,
        value: u64,
        after: &[BorrowedPoint<'_>],
        accepted: impl FnOnce(u64),
    ) -> TimelinePoint {
        let state = &self.state;
        state.ledger().values().mark_submitted(value);
        accepted(value);
        for point in after.iter().filter(|point| point.is_on(&state.objects.computed)) {
            state.objects.computed.record_wait(point.value());
        }
        state.objects.rendered.issue(value);
        state.objects.rendered.point(value)
    }

    /// Lends a frame's submission and returns the value of `rendered` that it signals.
    pub(super) fn lend(&self, frame: u64) -> Result<u64> {
        let state = &self.state;
        let _order = state.lock_submissions()?;
        let lent = state.ledger().values().lend(frame);
        lent.map_err(|refusal| state.refusal_error(refusal))
    }

    /// As [`LatestReader::initialize`](super::LatestReader::initialize).
    pub(super) fn initialize(&self) -> Result<()> {
        let state = &self.state;
        state.initialize()?;
        loop {
            let (retired, written) = self.retired_slots();
            if retired.is_empty() {
                return Ok(());
            }
            let after = self.writer_point(written);
            if let Some(point) = &after {
                // A present after the hand-over depends on this point.
                state.prepare_present(point.borrowed())?;
            }
            let commands = state.record_again(retired.iter().map(|slot| &state.barriers[*slot]))?;
            let value = {
                let order = state.lock_submissions()?;
                self.ensure_not_lent()?;
                // No hand-over recovers slots from here on. One that was submitted just before has
                // recovered its slots, which are the other side's now.
                if self.retired_slots() != (retired.clone(), written) {
                    continue;
                }
                state.submit_hand_over(&order, &commands, after.as_ref())?
            };
            state.wait_for_hand_over(value, commands)?;
            self.ledger().revive(&retired, 0);
            self.notify_change();
            return Ok(());
        }
    }

    /// Returns the retired slots, and the value of the writer's timeline after which they may be
    /// initialized again.
    fn retired_slots(&self) -> (Vec<usize>, u64) {
        let ledger = self.ledger();
        (ledger.retired_slots().collect(), ledger.retired_after())
    }

    /// Returns the point of a value of the writer's timeline; `None` for 0.
    fn writer_point(&self, written: u64) -> Option<TimelinePoint> {
        (written > 0).then(|| self.written().point(written))
    }

    /// Checks that neither a turn nor a hand-over of slots is lent, since its value of `rendered`
    /// must be signaled first.
    fn ensure_not_lent(&self) -> Result<()> {
        let frame = self.ledger().last_taken().unwrap_or_default();
        let next = self.state.ledger().values().next_rendered_value(frame);
        next.map(drop).map_err(|refusal| self.state.refusal_error(refusal))
    }

    /// As [`LatestReader::record_initial`](super::LatestReader::record_initial).
    ///
    /// # Safety
    /// As there.
    pub(super) unsafe fn record_initial(self: &Arc<Self>, commands: vk::CommandBuffer) -> Result<InitialTurn<R>> {
        let state = &self.state;
        if self.ledger().retired_slots().next().is_none() {
            // SAFETY: upheld by the caller.
            return unsafe { state.record_initial(commands) };
        }
        let frame = self.ledger().last_taken().unwrap_or_default();
        let value = state.lend_revival(frame)?;
        // After `lend_revival`: another lent hand-over may have recovered its slots.
        let (retired, written) = self.retired_slots();
        if retired.is_empty() {
            state.ledger().values().retract(value);
            // SAFETY: upheld by the caller.
            return unsafe { state.record_initial(commands) };
        }
        let (shared, slots) = (Arc::clone(self), retired.clone());
        let revive = move |value| {
            shared.ledger().revive(&slots, value);
            shared.notify_change();
        };
        // SAFETY: upheld by the caller.
        Ok(unsafe { state.record_revival(commands, value, &retired, self.writer_point(written), Box::new(revive)) })
    }

    /// As [`LatestWriter::close`](super::LatestWriter::close).
    pub(super) fn close(&self) -> Result<()> {
        let state = &self.state;
        let (writing, reading) = self.ledger().open_turns();
        for (open, stage) in [(writing, self.writer_stage()), (reading, self.reader_stage())] {
            if let Some(frame) = open {
                return Err(self.refusal_error(Refusal::Open { frame }, stage));
            }
        }
        // In the state's ledger, only a hand-over can be open.
        let mut ledger = state.ledger();
        let idle = if ledger.values().is_lent() { Err(InStep::InitialLent) } else { ledger.check_idle() };
        drop(ledger);
        idle.map_err(|refusal| state.refusal_error(refusal))?;
        if state.compute.side().is_current() {
            return Ok(());
        }
        // Otherwise the drop would wait for the timeout again.
        state.quiesce().inspect_err(|_| state.close_failed.store(true, Ordering::Release))
    }

    /// Returns the kind of the writer's turns.
    fn writer_stage(&self) -> Stage {
        match self.state.first {
            FirstSide::Compute => Stage::Compute,
            FirstSide::Render | FirstSide::RenderRemote => Stage::Render,
        }
    }

    /// Returns the kind of the reader's turns.
    fn reader_stage(&self) -> Stage {
        match self.state.first {
            FirstSide::Compute => Stage::Render,
            FirstSide::Render | FirstSide::RenderRemote => Stage::Compute,
        }
    }

    fn refusal_error(&self, refusal: Refusal, stage: Stage) -> Error {
        let (exchange, slots) = (self.state.name.clone(), self.state.objects.slots.len());
        match refusal {
            // One submission is lent at a time: Vulkan's open turn, or a hand-over of slots.
            Refusal::Open { frame } if stage == Stage::Render && self.state.ledger().values().is_turn_lent() => {
                Error::TurnOpen { exchange, frame, stage: Stage::Submit }
            }
            Refusal::Open { frame } => Error::TurnOpen { exchange, frame, stage },
            Refusal::Lost { frame } => Error::TurnLost { exchange, frame, stage },
            Refusal::NoSlot { unknown, frame, .. } if unknown > 0 => {
                // If the bridge may submit, its own later signal recovers the slots.
                if let Err(error) = self.state.flush() {
                    log_error!("exchange \"{exchange}\": {error}");
                }
                Error::TurnLost { exchange, frame, stage: Stage::Submit }
            }
            Refusal::NoSlot { retired, .. } => Error::SlotsRetired { exchange, retired, slots },
        }
    }
}
