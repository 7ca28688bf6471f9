//! Which slot is whose, where the two sides go at their own rates: the bookkeeping of a latest
//! exchange, without a driver.
//!
//! It is the same in both directions. The writer has a timeline, on which each frame has the value
//! of its publication, and the reader has one, on which each of its submissions has a value.

use super::info::Newest;

/// The last uses of a slot that its next writer waits for: a value of each timeline, 0 where there
/// is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Behind {
    /// On the reader's timeline.
    pub(super) read: u64,
    /// On the writer's own.
    pub(super) written: u64,
    /// It was initialized again since, behind all of these.
    pub(super) revived: bool,
}

impl Behind {
    /// Later than any use.
    const NEVER: Self = Self { read: u64::MAX, written: u64::MAX, revived: true };
}

/// The states of one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Slot {
    /// Nobody holds it.
    Free { behind: Behind },
    /// The writer's turn holds it.
    Writing { behind: Behind },
    /// The other side is in another process and holds it. Several may be held at once, and that
    /// side has no turns then.
    Away,
    /// The writer's lent turn is gone; whether its submission happened, only its timeline can tell.
    Unknown { behind: Behind, value: u64 },
    /// It holds a frame for the reader to choose, once the writer's timeline has reached `value`. A
    /// value of 0 is another process's frame, which is finished: whoever chooses it signals.
    Published { frame: u64, value: u64 },
    /// The reader's open turn takes it over.
    Taking { frame: u64, value: u64 },
    /// It is the reader's.
    Held { frame: u64, value: u64 },
    /// The reader's lent turn was dropped, so it is unknown whether the reader still owns the slot.
    /// It must be initialized again before its next use, after the writer's timeline has reached
    /// `value`: the dropped turn may not have waited for the slot's last frame.
    Retired { value: u64 },
}

impl Slot {
    /// What its next writer waits for, where it holds nothing that the reader may still want: no
    /// frame from `floor` on.
    fn free(&self, floor: u64) -> Option<Behind> {
        match *self {
            Self::Free { behind } => Some(behind),
            // Nobody has read it: it is rewritten behind its own publication.
            Self::Published { frame, value } if frame < floor => Some(Behind { written: value, ..Behind::default() }),
            _ => None,
        }
    }
}

/// A frame that the writer has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Begun {
    pub(super) frame: u64,
    pub(super) slot: usize,
    pub(super) behind: Behind,
}

/// The frame that the reader's turn uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Chosen {
    pub(super) frame: u64,
    pub(super) slot: usize,
    /// The value of the writer's timeline; 0 for a frame that was published without one.
    pub(super) value: u64,
    /// The reader does not have it so far. The turn waits for its value and takes it over.
    pub(super) new: bool,
    /// The slot that the turn gives back when it takes another.
    pub(super) old: Option<usize>,
}

/// The reason for which a step is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The side's last turn is open.
    Open { frame: u64 },
    /// The writer's last turn was dropped; told once.
    Lost { frame: u64 },
    /// No slot can be written: so many are retired, and so many were lent to the writer and
    /// dropped.
    NoSlot { frame: u64, retired: usize, unknown: usize },
}

/// The state of all slots, as far as every frame of the writer's needs it.
struct Survey {
    /// The writer's turn is open.
    writing: bool,
    /// The reader wants nothing that is older than this frame.
    floor: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Ledger {
    slots: Box<[Slot]>,
    newest: Newest,
    /// The number of the next frame that is published.
    next: u64,
    /// The writer dropped a turn.
    dropped: bool,
    /// The number of slots that are [`Slot::Unknown`], so that frames need not look for them.
    unknown: usize,
    /// The reader's open turn.
    reading: Option<Chosen>,
    /// The newest frame that the reader was ever given for good: it never goes back behind this.
    shown: Option<u64>,
    /// The highest value of the writer's timeline that either side has seen reached.
    finished: u64,
}

impl Ledger {
    pub(super) fn new(slots: usize, newest: Newest) -> Self {
        let slots = vec![Slot::Free { behind: Behind::default() }; slots].into();
        Self { slots, newest, next: 0, dropped: false, unknown: 0, reading: None, shown: None, finished: 0 }
    }

    /// Takes a slot for the writer: of those that hold nothing the reader may still want, the one
    /// whose last reader is furthest in the past. The writer's timeline has reached at least
    /// `known`; `reached` is asked for its value only where a lost submission makes it matter.
    pub(super) fn begin(&mut self, known: u64, reached: impl FnOnce() -> u64) -> Result<Begun, Refusal> {
        if std::mem::take(&mut self.dropped) {
            return Err(Refusal::Lost { frame: self.next });
        }
        let finished = self.finished.max(known);
        let mut seen = self.survey(finished);
        if seen.writing {
            return Err(Refusal::Open { frame: self.next });
        }
        if self.unknown > 0 {
            self.reach(reached());
            seen = self.survey(self.finished);
        } else {
            self.finished = finished;
        }
        let Some((behind, slot)) = self.oldest(seen.floor) else { return Err(self.no_slot()) };
        self.slots[slot] = Slot::Writing { behind };
        Ok(Begun { frame: self.next, slot, behind })
    }

    /// Notes how far the writer has come. Submissions of its own that are lost have run by then, or
    /// will never.
    fn reach(&mut self, reached: u64) {
        self.finished = self.finished.max(reached);
        if self.unknown == 0 {
            return;
        }
        for slot in &mut self.slots {
            if let Slot::Unknown { behind, value } = *slot
                && value <= self.finished
            {
                // Without the submission, nobody has waited for the reader; with it, the commands
                // are behind this value.
                *slot = Slot::Free { behind: Behind { written: self.finished, ..behind } };
                self.unknown -= 1;
            }
        }
    }

    /// Looks at every slot once, which every frame does, where the writer's timeline has reached
    /// `finished`.
    fn survey(&self, finished: u64) -> Survey {
        let limit = self.limit(finished);
        let mut seen = Survey { writing: false, floor: self.unseen() };
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

    /// The first of the slots that can be written whose last use is the oldest.
    fn oldest(&self, floor: u64) -> Option<(Behind, usize)> {
        let (mut least, mut found) = (Behind::NEVER, None);
        for (index, slot) in self.slots.iter().enumerate() {
            if let Some(behind) = slot.free(floor)
                && behind < least
            {
                (least, found) = (behind, Some(index));
            }
        }
        found.map(|index| (least, index))
    }

    /// The first frame that the reader has had neither itself nor a later one of: what it had is no
    /// more for it to choose.
    fn unseen(&self) -> u64 {
        self.shown.map_or(0, |frame| frame + 1)
    }

    /// The highest value of a frame that the reader may choose, where `finished` was reached.
    fn limit(&self, finished: u64) -> u64 {
        match self.newest {
            Newest::Issued => u64::MAX,
            Newest::Finished => finished,
        }
    }

    fn no_slot(&self) -> Refusal {
        let count = |wanted: fn(&Slot) -> bool| self.slots.iter().filter(|slot| wanted(slot)).count();
        let retired = count(|slot| matches!(slot, Slot::Retired { .. }));
        let unknown = count(|slot| matches!(slot, Slot::Unknown { .. }));
        Refusal::NoSlot { frame: self.next, retired, unknown }
    }

    /// The writer's frame was enqueued: its timeline reaches `value` behind it.
    pub(super) fn publish(&mut self, slot: usize, value: u64) {
        if let Slot::Writing { .. } = self.slots[slot] {
            self.slots[slot] = Slot::Published { frame: self.next, value };
            self.next += 1;
        }
    }

    /// The writer gives its slot back; the frame's number is the next one's.
    pub(super) fn skip_write(&mut self, slot: usize) {
        if let Slot::Writing { behind } = self.slots[slot] {
            self.slots[slot] = Slot::Free { behind };
        }
    }

    /// The writer's turn was dropped.
    pub(super) fn drop_write(&mut self, slot: usize) {
        self.skip_write(slot);
        self.dropped = true;
    }

    /// The writer's turn, which was lent with `value`, was dropped: the submission may have
    /// happened.
    pub(super) fn lose_write(&mut self, slot: usize, value: u64) {
        if let Slot::Writing { behind } = self.slots[slot] {
            self.slots[slot] = Slot::Unknown { behind, value };
            self.unknown += 1;
        }
    }

    /// Chooses the reader's frame. `None` where it has none and none can be had. `reached` is the
    /// value of the writer's timeline.
    pub(super) fn newest(&mut self, reached: u64) -> Result<Option<Chosen>, Refusal> {
        if let Some(open) = self.reading {
            return Err(Refusal::Open { frame: open.frame });
        }
        self.reach(reached);
        let (limit, unseen) = (self.limit(self.finished), self.unseen());
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
                Chosen { frame, slot, value, new: true, old: held.map(|(_, _, slot)| slot) }
            }
            (None, Some((frame, value, slot))) => Chosen { frame, slot, value, new: false, old: None },
            (None, None) => return Ok(None),
        };
        if chosen.new {
            self.slots[chosen.slot] = Slot::Taking { frame: chosen.frame, value: chosen.value };
        }
        self.reading = Some(chosen);
        Ok(Some(chosen))
    }

    /// The reader's turn was submitted: its timeline reaches `value` behind it.
    pub(super) fn read(&mut self, value: u64) {
        let Some(Chosen { frame, slot, value: published, new: true, old }) = self.reading.take() else { return };
        if let Some(old) = old {
            self.slots[old] = Slot::Free { behind: Behind { read: value, ..Behind::default() } };
        }
        self.slots[slot] = Slot::Held { frame, value: published };
        self.shown = Some(frame);
    }

    /// The reader's turn was never submitted, and will not be.
    pub(super) fn skip_read(&mut self) {
        if let Some(Chosen { frame, slot, value, new: true, .. }) = self.reading.take() {
            self.slots[slot] = Slot::Published { frame, value };
        }
    }

    /// Whether the reader's turn was submitted is not known. Both of its slots are retired; one
    /// that it had before and has still is as it was.
    pub(super) fn lose_read(&mut self) {
        if let Some(Chosen { frame, slot, new: true, old, .. }) = self.reading.take() {
            for slot in old.into_iter().chain([slot]) {
                if let Slot::Taking { value, .. } | Slot::Held { value, .. } = self.slots[slot] {
                    self.slots[slot] = Slot::Retired { value };
                }
            }
            self.shown = Some(frame);
        }
    }

    /// The slots that the signal behind the reader's open turn has to cover: the turn's own, and
    /// the one that it gives back. An earlier turn may have left work with that one which no signal
    /// covers.
    pub(super) fn in_turn(&self) -> impl Iterator<Item = usize> {
        self.reading.into_iter().flat_map(|open| open.old.into_iter().chain([open.slot]))
    }

    /// The newest frame that the reader was ever given for good.
    pub(super) fn shown(&self) -> Option<u64> {
        self.shown
    }

    /// The turns that are open: the writer's frame, and the reader's.
    pub(super) fn open(&self) -> (Option<u64>, Option<u64>) {
        let writing = self.slots.iter().any(|slot| matches!(slot, Slot::Writing { .. }));
        (writing.then_some(self.next), self.reading.map(|open| open.frame))
    }
}

#[cfg_attr(not(all(target_os = "linux", feature = "remote")), allow(dead_code, reason = "workers are Linux's"))]
#[path = "ledger_away.rs"]
mod away;
#[path = "ledger_retired.rs"]
mod retired;

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
