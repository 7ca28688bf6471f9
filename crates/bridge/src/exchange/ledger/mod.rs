//! Slot ownership: the bookkeeping of an exchange, without driver calls.

pub(in crate::exchange) mod initial;
pub(in crate::exchange) mod refusal;
#[cfg(all(target_os = "linux", feature = "remote"))]
mod remote;
mod replaced;
mod unjoined;
#[cfg(all(target_os = "linux", feature = "remote"))]
pub(in crate::exchange) mod unsent;
pub(in crate::exchange) mod values;

use super::ledger::initial::InitialState;
use super::ledger::refusal::Refusal;
use super::ledger::values::Values;
use crate::error::Stage;

/// The side that a frame begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FirstSide {
    /// The compute side fills a slot, then Vulkan uses it. Several frames may be waiting for their
    /// submission to Vulkan.
    Compute,
    /// Vulkan fills a slot, then the compute side uses it. Only one frame at a time is between
    /// `begin` and `finish`.
    Render,
    /// Vulkan fills a slot, then another process uses it, which may hold several. Only one frame at
    /// a time is between `begin` and its submission.
    #[cfg_attr(not(all(target_os = "linux", feature = "remote")), expect(dead_code, reason = "workers are Linux-only"))]
    RenderRemote,
}

/// The state of one slot. `after` is the value of its last use: the side that begins waits for it
/// on the other side's timeline. It is 0 if the other side never used the slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    /// No turn holds it.
    Free { after: u64 },
    /// A compute turn holds it.
    Computing { frame: u64, after: u64 },
    /// A render turn holds it.
    Rendering { frame: u64, after: u64 },
    /// A lent turn holds it; its submission signals `value` of `rendered`.
    Lent { frame: u64, after: u64, value: u64 },
    /// The lent turn was dropped; only the timeline can show whether its submission was made.
    Unknown { frame: u64, after: u64, value: u64 },
    /// The compute side may still use it, and the signal of its completion could not be enqueued.
    Unsignaled { frame: u64 },
    /// The compute side is another process that has not received the frame yet; the frame's
    /// submission signals `value` of `rendered`.
    Unsent { frame: u64, after: u64, value: u64 },
    /// The compute side is another process, which holds the slot: to fill it for a later frame, or
    /// to read one.
    #[cfg_attr(not(all(target_os = "linux", feature = "remote")), expect(dead_code, reason = "workers are Linux-only"))]
    Remote { after: u64 },
    /// Other GPUs may still use it, and the leading GPU's wait for them could not be enqueued.
    Unjoined { frame: u64, after: u64 },
}

/// Frames, slots and the owners of slots. Frame numbers are only counters; timeline values count
/// signals.
#[derive(Debug)]
pub(super) struct Ledger {
    first: FirstSide,
    slots: Box<[Slot]>,
    next: u64,
    dropped: Option<(u64, Stage)>,
    values: Values,
    /// The slot that is preferred among slots with the same last use.
    start: usize,
    initial: InitialState,
    /// The value of the first hand-over, if an engine submitted it.
    initial_value: u64,
}

/// A frame that has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NewFrame {
    pub(super) frame: u64,
    pub(super) slot: usize,
    /// The value on the other side's timeline that the beginning side must wait for.
    pub(super) wait: Option<u64>,
}

impl Ledger {
    /// Creates a ledger. `slots` is at least 1.
    pub(super) fn new(first: FirstSide, slots: usize) -> Self {
        let slots = vec![Slot::Free { after: 0 }; slots.max(1)].into();
        let (dropped, initial) = (None, InitialState::Done);
        Self { first, slots, next: 0, dropped, values: Values::default(), start: 0, initial, initial_value: 0 }
    }

    /// Takes the free slot whose last use is the oldest, for the side that begins. `reached`
    /// returns the value of `rendered`; it is called only if there are slots of lost submissions.
    pub(super) fn begin(&mut self, reached: impl FnOnce() -> u64) -> Result<NewFrame, Refusal> {
        if self.initial != InitialState::Done {
            return Err(Refusal::NotInitialized);
        }
        if let Some((frame, stage)) = self.dropped.take() {
            return Err(Refusal::TurnLost { frame, stage });
        }
        if let Some((frame, stage)) = self.open_turn() {
            return Err(Refusal::TurnOpen { frame, stage });
        }
        self.recover(reached);
        let (after, slot) = self.oldest_free().ok_or_else(|| self.no_slot_refusal())?;
        let frame = self.next;
        self.slots[slot] = match self.first {
            FirstSide::Compute => Slot::Computing { frame, after },
            FirstSide::Render | FirstSide::RenderRemote => Slot::Rendering { frame, after },
        };
        self.next += 1;
        Ok(NewFrame { frame, slot, wait: (after > 0).then_some(after) })
    }

    /// Returns the values of `rendered`, for frames whose slots another ledger manages.
    pub(super) fn values(&mut self) -> &mut Values {
        &mut self.values
    }

    /// Frees the slots of lost submissions that cannot be running any more. Such a submission was
    /// made before the lent turn ended, or never, so it completes before a signal of the same or a
    /// later value on the same queue.
    fn recover(&mut self, reached: impl FnOnce() -> u64) {
        if !self.slots.iter().any(|slot| matches!(slot, Slot::Unknown { .. })) {
            return;
        }
        let reached = reached();
        for slot in &mut self.slots {
            if let Slot::Unknown { after, value, .. } = *slot
                && value <= reached
            {
                let after = match self.first {
                    FirstSide::Compute => value,
                    // Without the submission, nothing has waited for the compute side's last use
                    // yet.
                    FirstSide::Render | FirstSide::RenderRemote => after,
                };
                *slot = Slot::Free { after };
            }
        }
    }

    /// Returns the reason why no slot is free.
    fn no_slot_refusal(&self) -> Refusal {
        let states = || self.slots.iter().enumerate();
        let held = states().filter_map(|(slot, state)| match state {
            Slot::Rendering { frame, .. } | Slot::Lent { frame, .. } => Some((*frame, slot)),
            _ => None,
        });
        if let Some((frame, slot)) = held.min() {
            return Refusal::SlotBusy { slot, frame };
        }
        let lost = states().filter_map(|(_, state)| match state {
            Slot::Unknown { frame, .. } => Some((*frame, Stage::Submit)),
            Slot::Unsignaled { frame } | Slot::Unjoined { frame, .. } => Some((*frame, Stage::Compute)),
            _ => None,
        });
        let (frame, stage) = lost.min_by_key(|(frame, _)| *frame).unwrap_or((self.next, Stage::Compute));
        Refusal::TurnLost { frame, stage }
    }

    /// Records that the compute side signaled `value`: the slot is Vulkan's, now or for a later
    /// frame.
    #[inline]
    pub(super) fn finish(&mut self, slot: usize, value: u64) {
        if let Slot::Computing { frame, after } = self.slots[slot] {
            self.slots[slot] = match self.first {
                FirstSide::Compute => Slot::Rendering { frame, after },
                FirstSide::Render | FirstSide::RenderRemote => Slot::Free { after: value },
            };
        }
    }

    /// Records that the compute turn of a compute-first frame was skipped: Vulkan never sees the
    /// slot.
    pub(super) fn skip_compute(&mut self, slot: usize) {
        if let Slot::Computing { after, .. } = self.slots[slot] {
            self.slots[slot] = Slot::Free { after };
        }
    }

    /// Records that a compute turn was dropped without `finish`. A compute-first frame is begun
    /// again. For a frame that Vulkan began, `signaled` is the value whose signal was enqueued
    /// anyway, if any.
    pub(super) fn drop_compute(&mut self, slot: usize, signaled: Option<u64>) {
        if let Slot::Computing { frame, after } = self.slots[slot] {
            self.dropped = Some((frame, Stage::Compute));
            self.slots[slot] = match (self.first, signaled) {
                (FirstSide::Compute, _) => {
                    self.next = frame;
                    Slot::Free { after }
                }
                (FirstSide::Render | FirstSide::RenderRemote, Some(value)) => Slot::Free { after: value },
                (FirstSide::Render | FirstSide::RenderRemote, None) => Slot::Unsignaled { frame },
            };
        }
    }

    /// Returns a slot that the compute side left without a signal, if no turn is open.
    pub(super) fn unsignaled(&self) -> Option<usize> {
        if self.open_turn().is_some() {
            return None;
        }
        self.slots.iter().position(|slot| matches!(slot, Slot::Unsignaled { .. }))
    }

    /// Records that the missing signal of a slot was enqueued.
    pub(super) fn mark_signaled(&mut self, slot: usize, value: u64) {
        if let Slot::Unsignaled { .. } = self.slots[slot] {
            self.slots[slot] = Slot::Free { after: value };
        }
    }

    /// Returns the value that the submission of a frame signals. Refused while a turn is lent: the
    /// lent value is lower, and may be submitted later.
    #[inline]
    pub(super) fn next_rendered_value(&self, frame: u64) -> Result<u64, Refusal> {
        self.values.next_rendered_value(frame)
    }

    /// Takes a value for a submission that only signals, after all others. Returns `None` if a
    /// signal that is certain to come follows them anyway: that of the last submission, if it is
    /// known to have been made, or that of the lent turn.
    pub(super) fn flush(&mut self) -> Option<u64> {
        self.needs_flush().then(|| self.values.take_rendered_value())
    }

    /// Returns `true` if [`flush`](Self::flush) would take a value.
    pub(super) fn needs_flush(&self) -> bool {
        !matches!(self.initial, InitialState::Lent(_)) && self.values.needs_flush()
    }

    /// Records that the flush that signals `value` was accepted.
    pub(super) fn mark_flushed(&mut self, value: u64) {
        self.values.mark_submitted(value);
    }

    /// Lends a frame's submission and returns its value.
    pub(super) fn lend(&mut self, slot: usize, frame: u64) -> Result<u64, Refusal> {
        let value = self.values.lend(frame)?;
        if let Slot::Rendering { frame, after } = self.slots[slot] {
            self.slots[slot] = Slot::Lent { frame, after, value };
        }
        Ok(value)
    }

    /// Records that a frame's submission, which signals `value`, was accepted. The slot becomes the
    /// compute side's: for a later frame once `rendered` reaches `value`, or for this frame now.
    #[inline]
    pub(super) fn mark_submitted(&mut self, slot: usize, value: u64) {
        if let Slot::Rendering { frame, after } | Slot::Lent { frame, after, .. } = self.slots[slot] {
            self.values.mark_submitted(value);
            self.slots[slot] = match self.first {
                FirstSide::Compute => Slot::Free { after: value },
                FirstSide::Render => Slot::Computing { frame, after },
                FirstSide::RenderRemote => Slot::Unsent { frame, after, value },
            };
        }
    }

    /// Records that a frame will not be rendered. Vulkan never used it, so there is no new value to
    /// wait for.
    pub(super) fn skip_render(&mut self, slot: usize) {
        if let Slot::Rendering { after, .. } = self.slots[slot] {
            self.slots[slot] = Slot::Free { after };
        }
    }

    /// Records that a lent turn was never submitted. No value was taken since, so its value is
    /// reused.
    pub(super) fn retract(&mut self, slot: usize) {
        if let Slot::Lent { after, value, .. } = self.slots[slot] {
            self.values.retract(value);
            self.slots[slot] = Slot::Free { after };
        }
    }

    /// Records that a render turn was dropped, or that a lent turn was dropped without a report of
    /// its submission.
    pub(super) fn drop_render(&mut self, slot: usize) {
        match self.slots[slot] {
            Slot::Rendering { frame, after } => {
                self.slots[slot] = Slot::Free { after };
                self.dropped = Some((frame, Stage::Render));
            }
            Slot::Lent { frame, after, value } => {
                self.values.end_lent(value);
                self.slots[slot] = Slot::Unknown { frame, after, value };
            }
            _ => {}
        }
    }

    /// Returns the open turn that keeps the next frame from beginning, if any.
    #[inline]
    fn open_turn(&self) -> Option<(u64, Stage)> {
        match self.first {
            FirstSide::Compute => self.slots.iter().find_map(|slot| match slot {
                Slot::Computing { frame, .. } => Some((*frame, Stage::Compute)),
                _ => None,
            }),
            FirstSide::Render | FirstSide::RenderRemote => self.open_use(),
        }
    }

    /// Checks that no turn, of a frame or a first hand-over, is held.
    pub(super) fn check_idle(&self) -> Result<(), Refusal> {
        if let InitialState::Lent(_) = self.initial {
            return Err(Refusal::InitialLent);
        }
        self.open_use().map_or(Ok(()), |(frame, stage)| Err(Refusal::TurnOpen { frame, stage }))
    }

    /// Returns the value of `rendered` after which Vulkan uses no slot any more: the highest that
    /// was or may have been submitted; 0 before the first.
    pub(super) fn last_rendered(&self) -> u64 {
        self.values.last_rendered()
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod turns_tests;
