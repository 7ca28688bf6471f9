//! State that the handles and the turns of a latest exchange share.
#![allow(unsafe_code)] // Submitting.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard, OnceLock};

use vk_export::ash::vk;

use super::info::LatestInfo;
use super::ledger::{Begun, Chosen, Ledger, Refusal};
use super::shared_ledger::SharedLedger;
use crate::compute::Compute;
use crate::error::{Error, Result, Stage};
use crate::exchange::core::OnChange;
use crate::exchange::hand_over::Initial;
use crate::exchange::initial::InitialTurn;
use crate::exchange::ledger::First;
use crate::exchange::refusal::Refusal as InStep;
use crate::exchange::resources::Resources;
use crate::exchange::state::State;
use crate::exchange::submit::SubmitInfo;
use crate::observe::log_error;
use crate::timeline::{Timeline, TimelinePoint};

/// State that the handles and the turns of a latest exchange share.
pub(crate) struct Shared<R: Resources> {
    ledger: SharedLedger,
    /// Called when this process's side gives a slot back or publishes a frame; set if the other
    /// side is in another process.
    changed: OnceLock<OnChange>,
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
}

impl<R: Resources> Shared<R> {
    pub(super) fn new(compute: &Compute, info: &LatestInfo<'_>, resources: &R, first: First) -> Result<Arc<Self>> {
        info.validate()?;
        let own = compute.beside(&format!("latest exchange \"{}\"", info.name))?;
        // Created first, because this refuses an impossible number of slots.
        let state = State::new(&own, &info.in_step(), resources, first)?;
        Ok(Arc::new(Self {
            ledger: SharedLedger::new(info.slots, info.newest, info.writer_in_flight),
            changed: OnceLock::new(),
            writer_dropped: AtomicBool::new(false),
            reader_dropped: AtomicBool::new(false),
            writer_in_flight: info.writer_in_flight,
            state,
        }))
    }

    /// Locks the ledger, which is never held while the state's ledger is.
    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock()
    }

    /// Returns the timeline on which frames are published.
    fn written(&self) -> &Timeline {
        match self.state.first {
            First::Compute => &self.state.held.computed,
            First::Render | First::Away => &self.state.held.rendered,
        }
    }

    /// Takes the slot of the writer's next frame, once few enough frames of the writer are
    /// unfinished.
    pub(super) fn begin(&self) -> Result<Begun> {
        self.ensure_alive()?;
        self.state.free_finished();
        if self.state.ledger().initial() != Initial::Done {
            return Err(Error::NotInitialized { exchange: self.state.name.clone() });
        }
        let wait = |value| self.state.noticed(self.written().wait_value(value, self.state.timeout));
        let begun = self.ledger.begin(wait, || self.written().value().unwrap_or(0))?;
        begun.map_err(|refusal| self.refused(refusal, self.writer()))
    }

    /// Chooses the reader's frame. Does not block: a thread of the compute side makes the signal,
    /// if one is needed.
    pub(super) fn newest(&self) -> Result<Option<Chosen>> {
        self.state.free_finished();
        let signal = |slot| self.state.compute_signals(slot).map(|point| point.value());
        let chosen = self.ledger.newest(|| self.written().value(), || self.ensure_alive(), signal)?;
        chosen.map_err(|refusal| self.refused(refusal, self.reader()))
    }

    pub(super) fn note_writer_dropped(&self) {
        self.writer_dropped.store(true, Ordering::Release);
    }

    pub(super) fn note_reader_dropped(&self) {
        self.reader_dropped.store(true, Ordering::Release);
    }

    /// Returns `true` once no further frame can be published.
    pub(super) fn is_writer_dropped(&self) -> bool {
        self.writer_dropped.load(Ordering::Acquire) && self.ledger().open().0.is_none()
    }

    /// Returns `true` once no further frame can be read.
    pub(super) fn is_reader_dropped(&self) -> bool {
        self.reader_dropped.load(Ordering::Acquire) && self.ledger().open().1.is_none()
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
    pub(super) fn published(&self, slot: usize, value: u64) {
        self.ledger.published(slot, value);
        self.changed();
    }

    /// Records that the reader's turn was submitted: the reader's timeline reaches `value` after
    /// it. With a `new` frame, the turn has given another slot back.
    pub(super) fn was_read(&self, value: u64, new: bool) {
        self.ledger().read(value);
        if new {
            self.changed();
        }
    }

    /// Records that the reader's turn was never submitted: its frame may be chosen again, or is
    /// superseded by now.
    pub(super) fn was_skipped(&self) {
        self.ledger().skip_read();
        self.changed();
    }

    /// Sets the callback. Only the first call has an effect.
    #[cfg(all(target_os = "linux", feature = "remote"))]
    pub(super) fn on_change(&self, changed: OnChange) {
        let _ = self.changed.set(changed);
    }

    fn changed(&self) {
        if let Some(changed) = self.changed.get() {
            changed();
        }
    }

    /// Returns the maximum number of slots that a reader in another process may hold: the writer
    /// keeps one for each of its frames in flight, and one for the newest finished frame.
    #[cfg(all(target_os = "linux", feature = "remote"))]
    pub(super) fn most_away(&self) -> usize {
        self.state.held.slots.len().saturating_sub(self.writer_in_flight + 1)
    }

    /// Submits a frame's commands with waits for the points in `after`. `accepted` records the
    /// value of `rendered` that they signal.
    ///
    /// # Safety
    /// As [`RenderTurn::submit_with`](crate::RenderTurn::submit_with).
    pub(super) unsafe fn submit(
        &self,
        frame: u64,
        after: &[&TimelinePoint],
        info: &SubmitInfo<'_>,
        accepted: impl FnOnce(u64),
    ) -> Result<TimelinePoint> {
        let state = &self.state;
        let _order = state.submitting()?;
        let value = state.ledger().next_rendered(frame).map_err(|refusal| state.refused(refusal))?;
        // SAFETY: the value was taken under the lock that is held, and none is lent. The rest is
        // upheld by the caller.
        unsafe { state.submit_batch(after, value, info) }?;
        Ok(self.accepted(value, after, accepted))
    }

    /// Records that a submission was accepted, and returns its point.
    pub(super) fn accepted(&self, value: u64, after: &[&TimelinePoint], accepted: impl FnOnce(u64)) -> TimelinePoint {
        let state = &self.state;
        state.ledger().values().submitted(value);
        accepted(value);
        for point in after.iter().filter(|point| point.timeline_name() == state.held.computed.name()) {
            state.held.computed.awaited(point.value());
        }
        state.held.rendered.issue(value)
    }

    /// Lends a frame's submission and returns the value of `rendered` that it signals.
    pub(super) fn lend(&self, frame: u64) -> Result<u64> {
        let state = &self.state;
        let _order = state.submitting()?;
        let lent = state.ledger().values().lend(frame);
        lent.map_err(|refusal| state.refused(refusal))
    }

    /// As [`LatestReader::initialize`](super::LatestReader::initialize).
    pub(super) fn initialize(&self) -> Result<()> {
        let state = &self.state;
        state.initialize()?;
        loop {
            let (retired, written) = self.retired();
            if retired.is_empty() {
                return Ok(());
            }
            let behind = self.behind(written);
            if let Some(point) = &behind {
                // A present after the hand-over depends on this point.
                state.prepare_present(point)?;
            }
            let commands = state.record_again(retired.iter().map(|slot| &state.barriers[*slot]))?;
            let value = {
                let order = state.submitting()?;
                self.ensure_not_lent()?;
                // No hand-over recovers slots from here on. One that was submitted just before has
                // recovered its slots, which are the other side's now.
                if self.retired() != (retired.clone(), written) {
                    continue;
                }
                state.submit_hand_over(&order, &commands, behind.as_ref())?
            };
            state.outlast_hand_over(value, commands)?;
            self.ledger().revive(&retired, 0);
            self.changed();
            return Ok(());
        }
    }

    /// Returns the retired slots, and the value of the writer's timeline after which they may be
    /// initialized again.
    fn retired(&self) -> (Vec<usize>, u64) {
        let ledger = self.ledger();
        (ledger.retired().collect(), ledger.retired_behind())
    }

    /// Returns the point of a value of the writer's timeline; `None` for 0.
    fn behind(&self, written: u64) -> Option<TimelinePoint> {
        (written > 0).then(|| self.written().issued(written))
    }

    /// Checks that neither a turn nor a hand-over of slots is lent, since its value of `rendered`
    /// must be signaled first.
    fn ensure_not_lent(&self) -> Result<()> {
        let frame = self.ledger().shown().unwrap_or_default();
        let next = self.state.ledger().values().next_rendered(frame);
        next.map(drop).map_err(|refusal| self.state.refused(refusal))
    }

    /// As [`LatestReader::record_initial`](super::LatestReader::record_initial).
    ///
    /// # Safety
    /// As there.
    pub(super) unsafe fn record_initial(self: &Arc<Self>, commands: vk::CommandBuffer) -> Result<InitialTurn<R>> {
        let state = &self.state;
        if self.ledger().retired().next().is_none() {
            // SAFETY: upheld by the caller.
            return unsafe { state.record_initial(commands) };
        }
        let frame = self.ledger().shown().unwrap_or_default();
        let value = state.lend_revival(frame)?;
        // After `lend_revival`: another lent hand-over may have recovered its slots.
        let (retired, written) = self.retired();
        if retired.is_empty() {
            state.ledger().values().retract(value);
            // SAFETY: upheld by the caller.
            return unsafe { state.record_initial(commands) };
        }
        let (shared, slots) = (Arc::clone(self), retired.clone());
        let revive = move |value| {
            shared.ledger().revive(&slots, value);
            shared.changed();
        };
        // SAFETY: upheld by the caller.
        Ok(unsafe { state.record_revival(commands, value, &retired, self.behind(written), Box::new(revive)) })
    }

    /// As [`LatestWriter::close`](super::LatestWriter::close).
    pub(super) fn close(&self) -> Result<()> {
        let state = &self.state;
        let (writing, reading) = self.ledger().open();
        for (open, stage) in [(writing, self.writer()), (reading, self.reader())] {
            if let Some(frame) = open {
                return Err(self.refused(Refusal::Open { frame }, stage));
            }
        }
        // In the state's ledger, only a hand-over can be open.
        let mut ledger = state.ledger();
        let idle = if ledger.values().is_lent() { Err(InStep::NotInitialized) } else { ledger.idle() };
        drop(ledger);
        idle.map_err(|refusal| state.refused(refusal))?;
        if state.compute.side().is_inside() {
            return Ok(());
        }
        // Otherwise the drop would wait for the timeout again.
        state.quiesce().inspect_err(|_| state.gave_up.store(true, Ordering::Release))
    }

    /// Returns the kind of the writer's turns.
    fn writer(&self) -> Stage {
        match self.state.first {
            First::Compute => Stage::Compute,
            First::Render | First::Away => Stage::Render,
        }
    }

    /// Returns the kind of the reader's turns.
    fn reader(&self) -> Stage {
        match self.state.first {
            First::Compute => Stage::Render,
            First::Render | First::Away => Stage::Compute,
        }
    }

    fn refused(&self, refusal: Refusal, stage: Stage) -> Error {
        let (exchange, slots) = (self.state.name.clone(), self.state.held.slots.len());
        match refusal {
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
