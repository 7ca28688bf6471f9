//! Which slot is whose: the exchange's bookkeeping, without a driver.

use crate::error::Stage;

/// Which side a frame begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum First {
    /// The compute side fills a slot, Vulkan uses it. Several frames may wait for Vulkan to submit them.
    Compute,
    /// Vulkan fills a slot, the compute side uses it. One frame at a time is between `begin` and `finish`.
    Render,
}

/// The states of one slot. `after` is the value that the side which begins must wait for on the other's timeline, if the
/// other ever used the slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    /// Nobody holds it.
    Free { after: Option<u64> },
    /// A compute turn holds it.
    Computing { frame: u64, after: Option<u64> },
    /// A render turn holds it.
    Rendering { frame: u64, after: Option<u64> },
    /// A render turn holds it and has lent its submit parts out.
    Lent { frame: u64, after: Option<u64> },
    /// The render turn is gone; whether its submission happened, only the timeline can tell.
    Unknown { frame: u64 },
}

/// Frames, slots and who holds them. A frame's value on both timelines is its number plus one.
#[derive(Debug)]
pub(super) struct Ledger {
    first: First,
    slots: Box<[Slot]>,
    next: u64,
    dropped: Option<(u64, Stage)>,
    /// The highest value of `rendered` whose signal was enqueued.
    rendered: u64,
}

/// Why a step is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    TurnOpen { frame: u64, stage: Stage },
    SlotBusy { slot: usize, frame: u64 },
    TurnLost { frame: u64, stage: Stage },
    OutOfOrder { frame: u64, first: u64 },
}

/// A frame that has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Begun {
    pub(super) frame: u64,
    pub(super) slot: usize,
    /// The value that the side which begins must wait for on the other's timeline.
    pub(super) wait: Option<u64>,
}

/// The value of a frame on both timelines.
pub(super) fn value(frame: u64) -> u64 {
    frame + 1
}

impl Ledger {
    /// `slots` is at least 1.
    pub(super) fn new(first: First, slots: usize) -> Self {
        let slots = vec![Slot::Free { after: None }; slots.max(1)].into();
        Self { first, slots, next: 0, dropped: None, rendered: 0 }
    }

    pub(super) fn slot_of(&self, frame: u64) -> usize {
        // The remainder is less than the number of slots, which is a `usize`.
        usize::try_from(frame % self.slots.len() as u64).unwrap_or(0)
    }

    /// Takes the next frame's slot for the side that begins. `reached` is asked for the value of `rendered` only where a
    /// lost submission makes it matter.
    pub(super) fn begin(&mut self, reached: impl FnOnce() -> u64) -> Result<Begun, Refusal> {
        if let Some((frame, stage)) = self.dropped.take() {
            return Err(Refusal::TurnLost { frame, stage });
        }
        if let Some((frame, stage)) = self.open() {
            return Err(Refusal::TurnOpen { frame, stage });
        }
        let frame = self.next;
        let slot = self.slot_of(frame);
        let after = match self.slots[slot] {
            Slot::Free { after } => after,
            Slot::Unknown { frame } if reached() >= value(frame) => match self.first {
                First::Compute => Some(value(frame)),
                // The compute side never got the slot, and Vulkan is done with it.
                First::Render => None,
            },
            Slot::Unknown { frame } => return Err(Refusal::TurnLost { frame, stage: Stage::Submit }),
            Slot::Computing { frame, .. } => return Err(Refusal::TurnOpen { frame, stage: Stage::Compute }),
            Slot::Rendering { frame, .. } | Slot::Lent { frame, .. } => return Err(Refusal::SlotBusy { slot, frame }),
        };
        self.slots[slot] = match self.first {
            First::Compute => Slot::Computing { frame, after },
            First::Render => Slot::Rendering { frame, after },
        };
        self.next += 1;
        Ok(Begun { frame, slot, wait: after })
    }

    /// The compute side signalled: the slot is Vulkan's, now or for a later frame.
    pub(super) fn finish(&mut self, frame: u64) {
        let slot = self.slot_of(frame);
        self.slots[slot] = match self.first {
            First::Compute => Slot::Rendering { frame, after: None },
            First::Render => Slot::Free { after: Some(value(frame)) },
        };
    }

    /// A compute turn went without `finish`. A frame that began with it is begun again; of one that Vulkan began,
    /// `signalled` says whether the signal was enqueued all the same.
    pub(super) fn drop_compute(&mut self, frame: u64, signalled: bool) {
        let slot = self.slot_of(frame);
        if let Slot::Computing { after, .. } = self.slots[slot] {
            self.dropped = Some((frame, Stage::Compute));
            self.slots[slot] = match self.first {
                First::Compute => {
                    self.next = frame;
                    Slot::Free { after }
                }
                First::Render => Slot::Free { after: signalled.then_some(value(frame)) },
            };
        }
    }

    /// The submit parts of a frame go out.
    pub(super) fn lend(&mut self, frame: u64) -> Result<(), Refusal> {
        self.check_order(frame)?;
        let slot = self.slot_of(frame);
        if let Slot::Rendering { after, .. } = self.slots[slot] {
            self.slots[slot] = Slot::Lent { frame, after };
        }
        Ok(())
    }

    /// That no earlier frame is still to be submitted.
    pub(super) fn check_order(&self, frame: u64) -> Result<(), Refusal> {
        let waiting = self.slots.iter().filter_map(|slot| match slot {
            Slot::Rendering { frame, .. } | Slot::Lent { frame, .. } => Some(*frame),
            _ => None,
        });
        match waiting.min() {
            Some(first) if first < frame => Err(Refusal::OutOfOrder { frame, first }),
            _ => Ok(()),
        }
    }

    /// A frame's submission was accepted: the slot is the compute side's, for a later frame once `rendered` reaches its
    /// value, or now.
    pub(super) fn submitted(&mut self, frame: u64) {
        let slot = self.slot_of(frame);
        self.rendered = self.rendered.max(value(frame));
        self.slots[slot] = match self.first {
            First::Compute => Slot::Free { after: Some(value(frame)) },
            First::Render => Slot::Computing { frame, after: None },
        };
    }

    /// A frame will not be rendered: Vulkan never used it, so there is nothing new to wait for. One whose parts are out
    /// may be on its way all the same.
    pub(super) fn skip(&mut self, frame: u64) {
        let slot = self.slot_of(frame);
        self.slots[slot] = match self.slots[slot] {
            Slot::Lent { frame, .. } => Slot::Unknown { frame },
            Slot::Rendering { after, .. } => Slot::Free { after },
            other => other,
        };
    }

    /// The submit parts of a frame were never used.
    pub(super) fn retract(&mut self, frame: u64) {
        let slot = self.slot_of(frame);
        if let Slot::Rendering { after, .. } | Slot::Lent { after, .. } = self.slots[slot] {
            self.slots[slot] = Slot::Free { after };
        }
    }

    /// A render turn went without a word.
    pub(super) fn drop_render(&mut self, frame: u64) {
        let slot = self.slot_of(frame);
        match self.slots[slot] {
            Slot::Rendering { after, .. } => {
                self.slots[slot] = Slot::Free { after };
                self.dropped = Some((frame, Stage::Render));
            }
            Slot::Lent { frame, .. } => self.slots[slot] = Slot::Unknown { frame },
            _ => {}
        }
    }

    /// The open turn that keeps the next frame from beginning.
    fn open(&self) -> Option<(u64, Stage)> {
        self.slots.iter().find_map(|slot| match (self.first, slot) {
            (_, Slot::Computing { frame, .. }) => Some((*frame, Stage::Compute)),
            (First::Render, Slot::Rendering { frame, .. } | Slot::Lent { frame, .. }) => Some((*frame, Stage::Render)),
            _ => None,
        })
    }

    /// That nobody holds a turn.
    pub(super) fn idle(&self) -> Result<(), Refusal> {
        self.slots.iter().enumerate().try_for_each(|(slot, state)| match state {
            Slot::Computing { frame, .. } => Err(Refusal::TurnOpen { frame: *frame, stage: Stage::Compute }),
            Slot::Rendering { frame, .. } | Slot::Lent { frame, .. } => Err(Refusal::SlotBusy { slot, frame: *frame }),
            Slot::Free { .. } | Slot::Unknown { .. } => Ok(()),
        })
    }

    /// The highest value of `rendered` whose signal was enqueued; 0 before the first.
    pub(super) fn rendered(&self) -> u64 {
        self.rendered
    }

    /// The last frame whose submission may or may not have happened: its value is not below that of any other.
    pub(super) fn unknown(&self) -> Option<u64> {
        let unknown = self.slots.iter().filter_map(|slot| match slot {
            Slot::Unknown { frame } | Slot::Lent { frame, .. } => Some(*frame),
            _ => None,
        });
        unknown.max()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn never() -> u64 {
        panic!("asked for the timeline without need")
    }

    #[test]
    fn a_slot_comes_round_behind_its_own_frame() {
        let mut ledger = Ledger::new(First::Compute, 2);
        for frame in 0..6 {
            let begun = ledger.begin(never).unwrap();
            let wait = (frame >= 2).then(|| value(frame - 2));
            assert_eq!(begun, Begun { frame, slot: (frame % 2) as usize, wait });
            ledger.finish(frame);
            ledger.check_order(frame).unwrap();
            ledger.submitted(frame);
        }
        assert_eq!(ledger.rendered(), 6);
    }

    #[test]
    fn an_unsubmitted_frame_blocks_its_slot_and_a_skipped_one_does_not() {
        let mut ledger = Ledger::new(First::Compute, 1);
        ledger.begin(never).unwrap();
        assert_eq!(ledger.begin(never), Err(Refusal::TurnOpen { frame: 0, stage: Stage::Compute }));
        ledger.finish(0);
        assert_eq!(ledger.begin(never), Err(Refusal::SlotBusy { slot: 0, frame: 0 }));
        ledger.skip(0);
        assert_eq!(ledger.begin(never), Ok(Begun { frame: 1, slot: 0, wait: None }));
    }

    #[test]
    fn dropped_turns_are_told_once_and_lost_submissions_until_their_signal_comes() {
        let mut ledger = Ledger::new(First::Compute, 1);
        ledger.begin(never).unwrap();
        ledger.drop_compute(0, false);
        assert_eq!(ledger.begin(never), Err(Refusal::TurnLost { frame: 0, stage: Stage::Compute }));
        assert_eq!(ledger.begin(never).unwrap().frame, 0, "the frame is begun again");
        ledger.finish(0);
        ledger.drop_render(0);
        assert_eq!(ledger.begin(never), Err(Refusal::TurnLost { frame: 0, stage: Stage::Render }));
        assert_eq!(ledger.begin(never).unwrap().frame, 1);
        ledger.finish(1);
        ledger.lend(1).unwrap();
        ledger.drop_render(1);
        assert_eq!(ledger.begin(|| 1), Err(Refusal::TurnLost { frame: 1, stage: Stage::Submit }));
        assert_eq!(ledger.begin(|| 1), Err(Refusal::TurnLost { frame: 1, stage: Stage::Submit }));
        assert_eq!(ledger.begin(|| 2), Ok(Begun { frame: 2, slot: 0, wait: Some(2) }));
    }

    #[test]
    fn vulkan_first_takes_one_frame_at_a_time_and_waits_for_the_compute_side() {
        let mut ledger = Ledger::new(First::Render, 2);
        for frame in 0..6 {
            let begun = ledger.begin(never).unwrap();
            let wait = (frame >= 2).then(|| value(frame - 2));
            assert_eq!(begun, Begun { frame, slot: (frame % 2) as usize, wait });
            assert_eq!(ledger.begin(never), Err(Refusal::TurnOpen { frame, stage: Stage::Render }));
            ledger.submitted(frame);
            assert_eq!(ledger.begin(never), Err(Refusal::TurnOpen { frame, stage: Stage::Compute }));
            ledger.finish(frame);
        }
        ledger.idle().unwrap();
    }

    #[test]
    fn vulkan_first_never_forgets_what_the_compute_side_still_reads() {
        let mut ledger = Ledger::new(First::Render, 1);
        ledger.begin(never).unwrap();
        ledger.submitted(0);
        ledger.finish(0);
        ledger.begin(never).unwrap();
        ledger.skip(1);
        assert_eq!(ledger.begin(never).unwrap().wait, Some(1), "skipped");
        ledger.drop_render(2);
        assert!(matches!(ledger.begin(never), Err(Refusal::TurnLost { frame: 2, stage: Stage::Render })));
        assert_eq!(ledger.begin(never).unwrap().wait, Some(1), "dropped");
        ledger.lend(3).unwrap();
        ledger.retract(3);
        assert_eq!(ledger.begin(never).unwrap().wait, Some(1), "lent and retracted");
        ledger.submitted(4);
        ledger.drop_compute(4, true);
        assert!(matches!(ledger.begin(never), Err(Refusal::TurnLost { frame: 4, stage: Stage::Compute })));
        assert_eq!(ledger.begin(never).unwrap(), Begun { frame: 5, slot: 0, wait: Some(5) });
        ledger.lend(5).unwrap();
        ledger.drop_render(5);
        assert!(matches!(ledger.begin(|| 5), Err(Refusal::TurnLost { frame: 5, stage: Stage::Submit })));
        assert_eq!(ledger.begin(|| 6).unwrap().wait, None, "seen to be done");
    }

    #[test]
    fn frames_are_submitted_in_order() {
        let mut ledger = Ledger::new(First::Compute, 3);
        for frame in 0..2 {
            ledger.begin(never).unwrap();
            ledger.finish(frame);
        }
        assert_eq!(ledger.lend(1), Err(Refusal::OutOfOrder { frame: 1, first: 0 }));
        ledger.submitted(0);
        ledger.lend(1).unwrap();
    }

    proptest! {
        /// What is waited for at the end is at least every value whose submission may have happened.
        #[test]
        fn the_end_waits_for_every_value_that_was_lent(slots in 1usize..5, steps in prop::collection::vec(0u8..4, 1..60)) {
            let mut ledger = Ledger::new(First::Compute, slots);
            let mut pending = 0;
            for step in steps {
                let Ok(Begun { frame, .. }) = ledger.begin(|| 0) else { continue };
                ledger.finish(frame);
                match step {
                    0 => ledger.skip(frame),
                    1 => {
                        ledger.submitted(frame);
                        pending = value(frame);
                    }
                    _ => {
                        ledger.lend(frame).unwrap();
                        pending = value(frame);
                        if step == 2 { ledger.drop_render(frame) } else { ledger.skip(frame) }
                    }
                }
                let end = ledger.unknown().map_or(0, value).max(ledger.rendered());
                prop_assert!(end >= pending, "{end} of {pending}");
            }
        }

        /// Whatever is done in whatever order: no slot is handed to the compute side while Vulkan may still use it,
        /// and the values that are signalled rise strictly.
        #[test]
        fn no_slot_is_taken_while_in_use(slots in 1usize..5, steps in prop::collection::vec(0u8..7, 1..200)) {
            let mut ledger = Ledger::new(First::Compute, slots);
            let mut computing: Option<u64> = None;
            let mut rendering: Vec<u64> = Vec::new();
            let mut last_use: Vec<Option<u64>> = vec![None; slots];
            let mut signalled = 0;
            for step in steps {
                match step {
                    0 | 1 => {
                        if let Ok(begun) = ledger.begin(|| signalled) {
                            prop_assert!(computing.is_none());
                            prop_assert!(rendering.iter().all(|f| ledger.slot_of(*f) != begun.slot));
                            prop_assert!(begun.wait >= last_use[begun.slot]);
                            computing = Some(begun.frame);
                        }
                    }
                    2 | 3 => if let Some(frame) = computing.take() {
                        ledger.finish(frame);
                        rendering.push(frame);
                    },
                    4 => if let Some(frame) = computing.take() { ledger.drop_compute(frame, false) },
                    5 => if !rendering.is_empty() {
                        let frame = rendering.remove(0);
                        prop_assert!(ledger.check_order(frame).is_ok());
                        prop_assert!(value(frame) > signalled, "values rise");
                        signalled = value(frame);
                        last_use[ledger.slot_of(frame)] = Some(signalled);
                        ledger.submitted(frame);
                    },
                    _ => if let Some(frame) = rendering.pop() {
                        last_use[ledger.slot_of(frame)] = None;
                        if frame % 2 == 0 { ledger.skip(frame) } else { ledger.drop_render(frame) }
                    },
                }
            }
        }
    }
}
