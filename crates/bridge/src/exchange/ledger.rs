//! Slot ownership: the bookkeeping of an exchange, without driver calls.

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

/// The side that a frame begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum First {
    /// The compute side fills a slot, then Vulkan uses it. Several frames may be waiting for their
    /// submission to Vulkan.
    Compute,
    /// Vulkan fills a slot, then the compute side uses it. Only one frame at a time is between
    /// `begin` and `finish`.
    Render,
    /// Vulkan fills a slot, then another process uses it, which may hold several. Only one frame at
    /// a time is between `begin` and its submission.
    #[cfg_attr(not(all(target_os = "linux", feature = "remote")), expect(dead_code, reason = "workers are Linux-only"))]
    Away,
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
    Drawn { frame: u64, after: u64, value: u64 },
    /// The compute side is another process, which holds the slot: to fill it for a later frame, or
    /// to read one.
    #[cfg_attr(not(all(target_os = "linux", feature = "remote")), expect(dead_code, reason = "workers are Linux-only"))]
    Away { after: u64 },
    /// Other GPUs may still use it, and the leading GPU's wait for them could not be enqueued.
    Unjoined { frame: u64, after: u64 },
}

/// Frames, slots and the owners of slots. Frame numbers are only counters; timeline values count
/// signals.
#[derive(Debug)]
pub(super) struct Ledger {
    first: First,
    slots: Box<[Slot]>,
    next: u64,
    dropped: Option<(u64, Stage)>,
    values: Values,
    /// The slot that is preferred among slots with the same last use.
    start: usize,
    initial: Initial,
    /// The value of the first hand-over, if an engine submitted it.
    handed_over: u64,
}

/// A frame that has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Begun {
    pub(super) frame: u64,
    pub(super) slot: usize,
    /// The value on the other side's timeline that the beginning side must wait for.
    pub(super) wait: Option<u64>,
}

impl Ledger {
    /// Creates a ledger. `slots` is at least 1.
    pub(super) fn new(first: First, slots: usize) -> Self {
        let slots = vec![Slot::Free { after: 0 }; slots.max(1)].into();
        let (dropped, initial) = (None, Initial::Done);
        Self { first, slots, next: 0, dropped, values: Values::default(), start: 0, initial, handed_over: 0 }
    }

    /// Takes the free slot whose last use is the oldest, for the side that begins. `reached`
    /// returns the value of `rendered`; it is called only if there are slots of lost submissions.
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

    /// Returns the values of the timelines, for frames whose slots another ledger manages.
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
                    First::Compute => value,
                    // Without the submission, nothing has waited for the compute side's last use
                    // yet.
                    First::Render | First::Away => after,
                };
                *slot = Slot::Free { after };
            }
        }
    }

    /// Returns the reason why no slot is free.
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

    /// Returns the value of the next signal of `computed`. The value is used up even if the signal
    /// cannot be enqueued.
    #[inline]
    pub(super) fn take_computed(&mut self) -> u64 {
        self.values.take_computed()
    }

    /// Records that the compute side signaled `value`: the slot is Vulkan's, now or for a later
    /// frame.
    #[inline]
    pub(super) fn finish(&mut self, slot: usize, value: u64) {
        if let Slot::Computing { frame, after } = self.slots[slot] {
            self.slots[slot] = match self.first {
                First::Compute => Slot::Rendering { frame, after },
                First::Render | First::Away => Slot::Free { after: value },
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
                (First::Compute, _) => {
                    self.next = frame;
                    Slot::Free { after }
                }
                (First::Render | First::Away, Some(value)) => Slot::Free { after: value },
                (First::Render | First::Away, None) => Slot::Unsignaled { frame },
            };
        }
    }

    /// Returns a slot that the compute side left without a signal, if no turn is open.
    pub(super) fn unsignaled(&self) -> Option<usize> {
        if self.open().is_some() {
            return None;
        }
        self.slots.iter().position(|slot| matches!(slot, Slot::Unsignaled { .. }))
    }

    /// Records that the missing signal of a slot was enqueued.
    pub(super) fn signaled(&mut self, slot: usize, value: u64) {
        if let Slot::Unsignaled { .. } = self.slots[slot] {
            self.slots[slot] = Slot::Free { after: value };
        }
    }

    /// Returns the value that the submission of a frame signals. Refused while a turn is lent: the
    /// lent value is lower, and may be submitted later.
    #[inline]
    pub(super) fn next_rendered(&self, frame: u64) -> Result<u64, Refusal> {
        self.values.next_rendered(frame)
    }

    /// Takes a value for a submission that only signals, after all others. Returns `None` if a
    /// signal that is certain to come follows them anyway: that of the last submission, if it is
    /// known to have been made, or that of the lent turn.
    pub(super) fn flush(&mut self) -> Option<u64> {
        if let Initial::Lent(_) = self.initial { None } else { self.values.flush() }
    }

    /// Returns `true` if [`flush`](Self::flush) would take a value.
    pub(super) fn needs_flush(&self) -> bool {
        !matches!(self.initial, Initial::Lent(_)) && self.values.needs_flush()
    }

    /// Records that the flush that signals `value` was accepted.
    pub(super) fn flushed(&mut self, value: u64) {
        self.values.submitted(value);
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

    /// Records that a frame will not be rendered. Vulkan never used it, so there is no new value to
    /// wait for.
    pub(super) fn skip(&mut self, slot: usize) {
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
    fn open(&self) -> Option<(u64, Stage)> {
        self.slots.iter().find_map(|slot| match (self.first, slot) {
            (_, Slot::Computing { frame, .. }) => Some((*frame, Stage::Compute)),
            (First::Render | First::Away, Slot::Rendering { frame, .. } | Slot::Lent { frame, .. }) => {
                Some((*frame, Stage::Render))
            }
            _ => None,
        })
    }

    /// Checks that no turn is held.
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

    /// Returns the value of `rendered` after which Vulkan uses no slot any more: the highest that
    /// was or may have been submitted; 0 before the first.
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
