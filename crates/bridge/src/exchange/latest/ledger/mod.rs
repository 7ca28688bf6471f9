//! Slot ownership in exchanges whose two sides run at independent rates: the bookkeeping of a
//! latest exchange, without driver calls.
//!
//! It is the same in both directions. On the writer's timeline, each frame has the value of its
//! publication; on the reader's timeline, each submission of the reader has a value.

use super::info::Newest;

/// The last uses of a slot, which its next writer waits for: a value of each timeline, 0 if there
/// is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct LastUses {
    /// Value on the reader's timeline.
    pub(super) read: u64,
    /// Value on the writer's timeline.
    pub(super) written: u64,
    /// `true` if the slot was initialized again after all of these uses.
    pub(super) revived: bool,
}

impl LastUses {
    /// Later than any use.
    const NEVER: Self = Self { read: u64::MAX, written: u64::MAX, revived: true };
}

/// The state of one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Slot {
    /// Neither side holds it.
    Free { last_uses: LastUses },
    /// The writer's turn holds it.
    Writing { last_uses: LastUses },
    /// The other side is in another process, which holds the slot. It may hold several at once, and
    /// has no turns.
    Remote,
    /// The writer's lent turn was dropped; only its timeline can show whether it was submitted.
    Unknown { last_uses: LastUses, value: u64 },
    /// It holds a frame that the reader may choose once the writer's timeline has reached `value`.
    /// With a value of 0 it is a finished frame of another process, which is signaled when it is
    /// chosen.
    Published { frame: u64, value: u64 },
    /// The reader's open turn is taking it over.
    Taking { frame: u64, value: u64 },
    /// The reader holds it.
    Held { frame: u64, value: u64 },
    /// The reader's lent turn was dropped, so it is unknown whether the reader still owns the slot.
    /// It must be initialized again before its next use, after the writer's timeline has reached
    /// `value`: the dropped turn may not have waited for the slot's last frame.
    Retired { value: u64 },
}

impl Slot {
    /// Returns the uses that the slot's next writer waits for, if the slot can be written: it holds
    /// no frame from `floor` on, which the reader may still want.
    fn free(&self, floor: u64) -> Option<LastUses> {
        match *self {
            Self::Free { last_uses } => Some(last_uses),
            // The frame was never read: the next writer waits only for its publication.
            Self::Published { frame, value } if frame < floor => {
                Some(LastUses { written: value, ..LastUses::default() })
            }
            _ => None,
        }
    }
}

/// A frame that the writer has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NewFrame {
    pub(super) frame: u64,
    pub(super) slot: usize,
    pub(super) last_uses: LastUses,
}

/// The frame that the reader's turn uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ChosenFrame {
    pub(super) frame: u64,
    pub(super) slot: usize,
    /// Its value on the writer's timeline; 0 if it was published without one.
    pub(super) value: u64,
    /// `true` for a frame that the reader did not have before, so that the turn has to acquire it.
    pub(super) is_new: bool,
    /// The slot that the turn gives back when it takes over another.
    pub(super) replaced_slot: Option<usize>,
}

/// The reason why a step is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The side's last turn is open.
    Open { frame: u64 },
    /// The writer's last turn was dropped; reported once.
    Lost { frame: u64 },
    /// No slot can be written: `retired` slots are retired, and `unknown` slots are those of
    /// the writer's dropped lent turns.
    NoSlot { frame: u64, retired: usize, unknown: usize },
}

/// State of all slots, as far as every frame of the writer needs it.
struct Summary {
    /// `true` if the writer's turn is open.
    writing: bool,
    /// The reader wants no frame that is older than this one.
    floor: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Ledger {
    slots: Box<[Slot]>,
    newest: Newest,
    /// The number of the next published frame.
    next: u64,
    /// `true` if the writer dropped a turn.
    writer_dropped: bool,
    /// The number of slots that are [`Slot::Unknown`]; if it is 0, frames need not look for them.
    unknown: usize,
    /// The reader's open turn.
    reading: Option<ChosenFrame>,
    /// The newest frame that the reader has taken for good; it never gets an older one.
    last_taken: Option<u64>,
    /// The highest value of the writer's timeline that either side has seen.
    finished: u64,
}

impl Ledger {
    pub(super) fn new(slots: usize, newest: Newest) -> Self {
        let slots = vec![Slot::Free { last_uses: LastUses::default() }; slots].into();
        Self { slots, newest, next: 0, writer_dropped: false, unknown: 0, reading: None, last_taken: None, finished: 0 }
    }

    /// Takes a slot for the writer: among the slots without a frame that the reader may still want,
    /// the one whose last use by the reader is the oldest. The writer's timeline has reached at
    /// least `known`; `reached` returns its value, and is called only if there are lost
    /// submissions.
    pub(super) fn begin(&mut self, known: u64, reached: impl FnOnce() -> u64) -> Result<NewFrame, Refusal> {
        if std::mem::take(&mut self.writer_dropped) {
            return Err(Refusal::Lost { frame: self.next });
        }
        let finished = self.finished.max(known);
        let mut seen = self.summarize(finished);
        if seen.writing {
            return Err(Refusal::Open { frame: self.next });
        }
        if self.unknown > 0 {
            self.record_reached(reached());
            seen = self.summarize(self.finished);
        } else {
            self.finished = finished;
        }
        let Some((last_uses, slot)) = self.oldest_writable(seen.floor) else { return Err(self.no_slot_refusal()) };
        self.slots[slot] = Slot::Writing { last_uses };
        Ok(NewFrame { frame: self.next, slot, last_uses })
    }

    /// Records the value that the writer's timeline has reached. Lost submissions of the writer up
    /// to this value have run, or never will.
    fn record_reached(&mut self, reached: u64) {
        self.finished = self.finished.max(reached);
        if self.unknown == 0 {
            return;
        }
        for slot in &mut self.slots {
            if let Slot::Unknown { last_uses, value } = *slot
                && value <= self.finished
            {
                // Without the submission, nothing has waited for the reader; with it, its commands
                // precede this value.
                *slot = Slot::Free { last_uses: LastUses { written: self.finished, ..last_uses } };
                self.unknown -= 1;
            }
        }
    }

    /// Looks at every slot once, which every frame does. The writer's timeline has reached
    /// `finished`.
    fn summarize(&self, finished: u64) -> Summary {
        let limit = self.newest_allowed_value(finished);
        let mut seen = Summary { writing: false, floor: self.first_unseen() };
        for slot in &self.slots {
            match *slot {
                Slot::Published { frame, value } if value <= limit => seen.floor = seen.floor.max(frame),
                Slot::Taking { frame, .. } => seen.floor = seen.floor.max(frame),
                Slot::Writing { .. } => seen.writing = true,
                _ => {}
            }
        }
        seen
    }

    /// Returns the writable slot whose last use is the oldest; the first one of several.
    fn oldest_writable(&self, floor: u64) -> Option<(LastUses, usize)> {
        let (mut least, mut found) = (LastUses::NEVER, None);
        for (index, slot) in self.slots.iter().enumerate() {
            if let Some(last_uses) = slot.free(floor)
                && last_uses < least
            {
                (least, found) = (last_uses, Some(index));
            }
        }
        found.map(|index| (least, index))
    }

    /// Returns the first frame that is newer than all that the reader has had. The reader can no
    /// longer choose older frames.
    fn first_unseen(&self) -> u64 {
        self.last_taken.map_or(0, |frame| frame + 1)
    }

    /// Returns the highest value of a frame that the reader may choose if `finished` is reached.
    fn newest_allowed_value(&self, finished: u64) -> u64 {
        match self.newest {
            Newest::Published => u64::MAX,
            Newest::Finished => finished,
        }
    }

    fn no_slot_refusal(&self) -> Refusal {
        let count = |wanted: fn(&Slot) -> bool| self.slots.iter().filter(|slot| wanted(slot)).count();
        let retired = count(|slot| matches!(slot, Slot::Retired { .. }));
        let unknown = count(|slot| matches!(slot, Slot::Unknown { .. }));
        Refusal::NoSlot { frame: self.next, retired, unknown }
    }

    /// Publishes the writer's frame, which was enqueued: the writer's timeline reaches `value`
    /// after it.
    pub(super) fn publish(&mut self, slot: usize, value: u64) {
        if let Slot::Writing { .. } = self.slots[slot] {
            self.slots[slot] = Slot::Published { frame: self.next, value };
            self.next += 1;
        }
    }

    /// Frees the writer's slot; the next frame gets the number of this one.
    pub(super) fn skip_write(&mut self, slot: usize) {
        if let Slot::Writing { last_uses } = self.slots[slot] {
            self.slots[slot] = Slot::Free { last_uses };
        }
    }

    /// Records that the writer's turn was dropped.
    pub(super) fn drop_write(&mut self, slot: usize) {
        self.skip_write(slot);
        self.writer_dropped = true;
    }

    /// Records that the writer's turn, which was lent with `value`, was dropped and may have been
    /// submitted.
    pub(super) fn lose_write(&mut self, slot: usize, value: u64) {
        if let Slot::Writing { last_uses } = self.slots[slot] {
            self.slots[slot] = Slot::Unknown { last_uses, value };
            self.unknown += 1;
        }
    }

    /// Chooses the reader's frame. `reached` is the value of the writer's timeline. Returns `None`
    /// if the reader has no frame and there is none to choose.
    pub(super) fn newest(&mut self, reached: u64) -> Result<Option<ChosenFrame>, Refusal> {
        if let Some(open) = self.reading {
            return Err(Refusal::Open { frame: open.frame });
        }
        self.record_reached(reached);
        let (limit, unseen) = (self.newest_allowed_value(self.finished), self.first_unseen());
        let slots = || self.slots.iter().enumerate();
        let held = slots().find_map(|(index, slot)| match *slot {
            Slot::Held { frame, value } => Some((frame, value, index)),
            _ => None,
        });
        let best = slots().filter_map(|(index, slot)| match *slot {
            Slot::Published { frame, value } if value <= limit && frame >= unseen => Some((frame, value, index)),
            _ => None,
        });
        let chosen = match (best.max(), held) {
            (Some((frame, value, slot)), held) => {
                ChosenFrame { frame, slot, value, is_new: true, replaced_slot: held.map(|(_, _, slot)| slot) }
            }
            (None, Some((frame, value, slot))) => {
                ChosenFrame { frame, slot, value, is_new: false, replaced_slot: None }
            }
            (None, None) => return Ok(None),
        };
        if chosen.is_new {
            self.slots[chosen.slot] = Slot::Taking { frame: chosen.frame, value: chosen.value };
        }
        self.reading = Some(chosen);
        Ok(Some(chosen))
    }

    /// Records that the reader's turn was submitted: the reader's timeline reaches `value` after
    /// it.
    pub(super) fn read(&mut self, value: u64) {
        let Some(ChosenFrame { frame, slot, value: published, is_new: true, replaced_slot }) = self.reading.take()
        else {
            return;
        };
        if let Some(old) = replaced_slot {
            self.slots[old] = Slot::Free { last_uses: LastUses { read: value, ..LastUses::default() } };
        }
        self.slots[slot] = Slot::Held { frame, value: published };
        self.last_taken = Some(frame);
    }

    /// Records that the reader's turn was never submitted, and will not be.
    pub(super) fn skip_read(&mut self) {
        if let Some(ChosenFrame { frame, slot, value, is_new: true, .. }) = self.reading.take() {
            self.slots[slot] = Slot::Published { frame, value };
        }
    }

    /// Records that it is unknown whether the reader's turn was submitted. Both of its slots are
    /// retired; a slot that the reader had before and still has is unchanged.
    pub(super) fn lose_read(&mut self) {
        if let Some(ChosenFrame { frame, slot, is_new: true, replaced_slot, .. }) = self.reading.take() {
            for slot in replaced_slot.into_iter().chain([slot]) {
                if let Slot::Taking { value, .. } | Slot::Held { value, .. } = self.slots[slot] {
                    self.slots[slot] = Slot::Retired { value };
                }
            }
            self.last_taken = Some(frame);
        }
    }

    /// Returns the slots that the signal after the reader's open turn must cover: the turn's own,
    /// and the one that it gives back, on which an earlier turn may have left work that no signal
    /// covers.
    pub(super) fn slots_in_turn(&self) -> impl Iterator<Item = usize> {
        self.reading.into_iter().flat_map(|open| open.replaced_slot.into_iter().chain([open.slot]))
    }

    /// Returns the newest frame that the reader has taken for good.
    pub(super) fn last_taken(&self) -> Option<u64> {
        self.last_taken
    }

    /// Returns the frames of the open turns: the writer's, and the reader's.
    pub(super) fn open_turns(&self) -> (Option<u64>, Option<u64>) {
        let writing = self.slots.iter().any(|slot| matches!(slot, Slot::Writing { .. }));
        (writing.then_some(self.next), self.reading.map(|open| open.frame))
    }
}

#[cfg_attr(not(all(target_os = "linux", feature = "remote")), allow(dead_code, reason = "workers are Linux-only"))]
mod remote;
mod retired;

#[cfg(test)]
mod tests;
