//! Which slot is whose: the exchange's bookkeeping, without a driver.

#[cfg(all(target_os = "linux", feature = "remote"))]
mod away;
#[cfg(all(target_os = "linux", feature = "remote"))]
mod drawn;
mod initial;
mod replaced;
mod unjoined;

use super::hand_over::Initial;
use super::refusal::Refusal;
use super::values::Values;
use crate::error::Stage;

/// Which side a frame begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum First {
    /// The compute side fills a slot, Vulkan uses it. Several frames may wait for Vulkan to submit
    /// them.
    Compute,
    /// Vulkan fills a slot, the compute side uses it. One frame at a time is between `begin` and
    /// `finish`.
    Render,
    /// Vulkan fills a slot, another process uses it, which has several at a time. One frame at a
    /// time is between `begin` and its submission.
    #[cfg_attr(not(all(target_os = "linux", feature = "remote")), expect(dead_code, reason = "workers are Linux's"))]
    Away,
}

/// The states of one slot. `after` is the value of its last use: the side that begins waits for it
/// on the other's timeline. It is 0 for a slot that the other side never used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    /// Nobody holds it.
    Free { after: u64 },
    /// A compute turn holds it.
    Computing { frame: u64, after: u64 },
    /// A render turn holds it.
    Rendering { frame: u64, after: u64 },
    /// A lent turn holds it; its submission signals `value` of `rendered`.
    Lent { frame: u64, after: u64, value: u64 },
    /// The lent turn is gone; whether its submission happened, only the timeline can tell.
    Unknown { frame: u64, after: u64, value: u64 },
    /// The compute side may still use it, and no signal that says when it is done could be
    /// enqueued.
    Unsignaled { frame: u64 },
    /// The compute side is another process, and has not been given the frame so far; its submission
    /// signals `value` of `rendered`.
    Drawn { frame: u64, after: u64, value: u64 },
    /// The compute side is another process, which has it: to fill it for a later frame, or to read
    /// one.
    #[cfg_attr(not(all(target_os = "linux", feature = "remote")), expect(dead_code, reason = "workers are Linux's"))]
    Away { after: u64 },
    /// Other GPUs may still use it, and that the one which leads waits for them could not be
    /// enqueued.
    Unjoined { frame: u64, after: u64 },
}

/// Frames, slots and who holds them. Frame numbers only count; the values of the two timelines
/// belong to their signals.
#[derive(Debug)]
pub(super) struct Ledger {
    first: First,
    slots: Box<[Slot]>,
    next: u64,
    dropped: Option<(u64, Stage)>,
    values: Values,
    /// Which slot comes first where their last use was at the same time.
    start: usize,
    initial: Initial,
    /// The value of the first hand-over, where an engine submitted it.
    handed_over: u64,
}

/// A frame that has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Begun {
    pub(super) frame: u64,
    pub(super) slot: usize,
    /// The value that the side which begins must wait for on the other's timeline.
    pub(super) wait: Option<u64>,
}

impl Ledger {
    /// `slots` is at least 1.
    pub(super) fn new(first: First, slots: usize) -> Self {
        let slots = vec![Slot::Free { after: 0 }; slots.max(1)].into();
        let (dropped, initial) = (None, Initial::Done);
        Self { first, slots, next: 0, dropped, values: Values::default(), start: 0, initial, handed_over: 0 }
    }

    /// Takes the free slot whose last use is the oldest, for the side that begins. `reached` is
    /// asked for the value of `rendered` only where a lost submission makes it matter.
    pub(super) fn begin(&mut self, reached: impl FnOnce() -> u64) -> Result<Begun, Refusal> {
        if self.initial != Initial::Done {
            return Err(Refusal::NotInitialized);
        }
        if let Some((frame, stage)) = self.dropped.take() {
            return Err(Refusal::TurnLost { frame, stage });
        }
        if let Some((frame, stage)) = self.open() {
            return Err(Refusal::TurnOpen { frame, stage });
        }
        self.recover(reached);
        let (after, slot) = self.oldest().ok_or_else(|| self.none_free())?;
        let frame = self.next;
        self.slots[slot] = match self.first {
            First::Compute => Slot::Computing { frame, after },
            First::Render | First::Away => Slot::Rendering { frame, after },
        };
        self.next += 1;
        Ok(Begun { frame, slot, wait: (after > 0).then_some(after) })
    }

    /// The values of the timelines, for frames whose slots are another ledger's.
    pub(super) fn values(&mut self) -> &mut Values {
        &mut self.values
    }

    /// Frees the slots of lost submissions that cannot be running any more: they were made before
    /// the lent turn ended, or never, so the signal of the same or a later value on the same queue
    /// is behind them.
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
                    First::Compute => value,
                    // Without the submission, nothing has waited for the compute side's last use
                    // yet.
                    First::Render | First::Away => after,
                };
                *slot = Slot::Free { after };
            }
        }
    }

    /// Why no slot is free.
    fn none_free(&self) -> Refusal {
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

    /// The value of the next signal of `computed`. It is used up even if the signal cannot be
    /// enqueued.
    #[inline]
    pub(super) fn take_computed(&mut self) -> u64 {
        self.values.take_computed()
    }

    /// The compute side signaled `value`: the slot is Vulkan's, now or for a later frame.
    #[inline]
    pub(super) fn finish(&mut self, slot: usize, value: u64) {
        if let Slot::Computing { frame, after } = self.slots[slot] {
            self.slots[slot] = match self.first {
                First::Compute => Slot::Rendering { frame, after },
                First::Render | First::Away => Slot::Free { after: value },
            };
        }
    }

    /// A compute turn of a frame that began with it is skipped: Vulkan never sees the slot.
    pub(super) fn skip_compute(&mut self, slot: usize) {
        if let Slot::Computing { after, .. } = self.slots[slot] {
            self.slots[slot] = Slot::Free { after };
        }
    }

    /// A compute turn went without `finish`. A frame that began with it is begun again; of one that
    /// Vulkan began, `signaled` is the value whose signal was enqueued all the same.
    pub(super) fn drop_compute(&mut self, slot: usize, signaled: Option<u64>) {
        if let Slot::Computing { frame, after } = self.slots[slot] {
            self.dropped = Some((frame, Stage::Compute));
            self.slots[slot] = match (self.first, signaled) {
                (First::Compute, _) => {
                    self.next = frame;
                    Slot::Free { after }
                }
                (First::Render | First::Away, Some(value)) => Slot::Free { after: value },
                (First::Render | First::Away, None) => Slot::Unsignaled { frame },
            };
        }
    }

    /// A slot that the compute side left without a signal, if no turn is open.
    pub(super) fn unsignaled(&self) -> Option<usize> {
        if self.open().is_some() {
            return None;
        }
        self.slots.iter().position(|slot| matches!(slot, Slot::Unsignaled { .. }))
    }

    /// The missing signal of a slot was enqueued after all.
    pub(super) fn signaled(&mut self, slot: usize, value: u64) {
        if let Slot::Unsignaled { .. } = self.slots[slot] {
            self.slots[slot] = Slot::Free { after: value };
        }
    }

    /// The value that the submission of a frame signals. While a lent turn is open there is none:
    /// its value is lower, and it may be submitted later.
    #[inline]
    pub(super) fn next_rendered(&self, frame: u64) -> Result<u64, Refusal> {
        self.values.next_rendered(frame)
    }

    /// Takes a value for a submission that only signals, behind all others. `None` where a signal
    /// that will come is behind them: that of the last submission, if it is certain, or of the turn
    /// that is lent.
    pub(super) fn flush(&mut self) -> Option<u64> {
        if let Initial::Lent(_) = self.initial { None } else { self.values.flush() }
    }

    /// Returns `true` if [`flush`](Self::flush) would take a value.
    pub(super) fn needs_flush(&self) -> bool {
        !matches!(self.initial, Initial::Lent(_)) && self.values.needs_flush()
    }

    /// The flush that signals `value` was accepted.
    pub(super) fn flushed(&mut self, value: u64) {
        self.values.submitted(value);
    }

    /// Lends a frame's submission; gives its value.
    pub(super) fn lend(&mut self, slot: usize, frame: u64) -> Result<u64, Refusal> {
        let value = self.values.lend(frame)?;
        if let Slot::Rendering { frame, after } = self.slots[slot] {
            self.slots[slot] = Slot::Lent { frame, after, value };
        }
        Ok(value)
    }

    /// A frame's submission, which signals `value`, was accepted: the slot is the compute side's,
    /// for a later frame once `rendered` reaches it, or now.
    #[inline]
    pub(super) fn submitted(&mut self, slot: usize, value: u64) {
        if let Slot::Rendering { frame, after } | Slot::Lent { frame, after, .. } = self.slots[slot] {
            self.values.submitted(value);
            self.slots[slot] = match self.first {
                First::Compute => Slot::Free { after: value },
                First::Render => Slot::Computing { frame, after },
                First::Away => Slot::Drawn { frame, after, value },
            };
        }
    }

    /// A frame will not be rendered: Vulkan never used it, so there is nothing new to wait for.
    pub(super) fn skip(&mut self, slot: usize) {
        if let Slot::Rendering { after, .. } = self.slots[slot] {
            self.slots[slot] = Slot::Free { after };
        }
    }

    /// The lent turn was never submitted. No value was taken since, so this one is taken again.
    pub(super) fn retract(&mut self, slot: usize) {
        if let Slot::Lent { after, value, .. } = self.slots[slot] {
            self.values.retract(value);
            self.slots[slot] = Slot::Free { after };
        }
    }

    /// A render turn or a lent turn went without a word.
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

    /// The open turn that keeps the next frame from beginning.
    #[inline]
    fn open(&self) -> Option<(u64, Stage)> {
        self.slots.iter().find_map(|slot| match (self.first, slot) {
            (_, Slot::Computing { frame, .. }) => Some((*frame, Stage::Compute)),
            (First::Render | First::Away, Slot::Rendering { frame, .. } | Slot::Lent { frame, .. }) => {
                Some((*frame, Stage::Render))
            }
            _ => None,
        })
    }

    /// Checks that nobody holds a turn.
    pub(super) fn idle(&self) -> Result<(), Refusal> {
        if let Initial::Lent(_) = self.initial {
            return Err(Refusal::NotInitialized);
        }
        self.slots.iter().enumerate().try_for_each(|(slot, state)| match state {
            Slot::Computing { frame, .. } => Err(Refusal::TurnOpen { frame: *frame, stage: Stage::Compute }),
            Slot::Rendering { frame, .. } | Slot::Lent { frame, .. } => Err(Refusal::SlotBusy { slot, frame: *frame }),
            Slot::Free { .. }
            | Slot::Unknown { .. }
            | Slot::Drawn { .. }
            | Slot::Away { .. }
            | Slot::Unsignaled { .. }
            | Slot::Unjoined { .. } => Ok(()),
        })
    }

    /// The value of `rendered` behind which Vulkan uses no slot any more: the highest that was
    /// submitted or may have been; 0 before the first.
    pub(super) fn last_rendered(&self) -> u64 {
        self.values.last_rendered()
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "ledger/turns_tests.rs"]
mod turns_tests;
