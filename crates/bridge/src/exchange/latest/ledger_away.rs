//! A writer or a reader in another process: it holds slots between its messages, several at once,
//! and has no turns here.
//!
//! It is given a slot once all earlier uses of it have ended, so that nothing which is enqueued
//! here waits for anything of its.

use super::{Behind, Chosen, Ledger, Slot};

impl Chosen {
    /// Returns `true` if it is finished, and no signal says so to Vulkan: it is to be
    /// [made](Ledger::signaled).
    pub(in crate::exchange::latest) fn is_unsignaled(&self) -> bool {
        self.new && self.value == 0
    }
}

impl Ledger {
    /// Gives the writer a slot that the reader wants nothing of, and whose last uses have ended:
    /// the reader's timeline has reached `read`, and the writer's `written`. Of several, the one
    /// whose last reader is furthest in the past. Gives the slot, and whether Vulkan has used it
    /// since the writer had it last.
    pub(in crate::exchange::latest) fn send_away(&mut self, read: u64, written: u64) -> Option<(usize, bool)> {
        self.reach(written);
        let floor = self.survey(self.finished).floor;
        let free = self.slots.iter().enumerate().filter_map(|(index, slot)| Some((slot.free(floor)?, index)));
        let ended = free.filter(|(behind, _)| behind.read <= read && behind.written <= written);
        let (behind, slot) = ended.min()?;
        self.slots[slot] = Slot::Away;
        Some((slot, behind.read > 0 || behind.revived))
    }

    /// Returns `true` if a slot may be the writer's as soon as a timeline rises, which tells
    /// nobody: once the last use of one has ended, or once a frame is finished that supersedes
    /// another.
    pub(in crate::exchange::latest) fn is_ending(&self, read: u64, written: u64) -> bool {
        let floor = self.survey(self.finished).floor;
        let ends = |behind: Behind| behind.read > read || behind.written > written;
        self.slots.iter().any(|slot| match *slot {
            Slot::Published { value, .. } if value > written => true,
            _ => slot.free(floor).is_some_and(ends),
        })
    }

    /// The writer has filled a slot that it holds. Gives the frame's number.
    ///
    /// The frame is finished: the reader may have it, and no longer wants those before. Nothing
    /// signals it until it is [chosen](Self::signaled): most frames of a fast writer never are.
    pub(in crate::exchange::latest) fn publish_away(&mut self, slot: usize) -> Option<u64> {
        let held = self.slots.get_mut(slot).filter(|held| **held == Slot::Away)?;
        let frame = self.next;
        *held = Slot::Published { frame, value: 0 };
        self.next += 1;
        Some(frame)
    }

    /// The frame of the reader's open turn, which another process has finished, has a `value` from
    /// now on, for Vulkan to wait for. This process is about to signal it.
    pub(in crate::exchange::latest) fn signaled(&mut self, value: u64) -> Option<Chosen> {
        let chosen = self.reading.as_mut().filter(|chosen| chosen.is_unsignaled())?;
        chosen.value = value;
        self.slots[chosen.slot] = Slot::Taking { frame: chosen.frame, value };
        // Skipped, it may be chosen at once again.
        self.finished = self.finished.max(value);
        Some(*chosen)
    }

    /// Gives the reader the newest frame that is finished: the writer's timeline has reached
    /// `written`. `None` where it has had that or a newer one, or holds `most` slots. Gives the
    /// slot and the frame's number.
    ///
    /// With `most` smaller by one than what the writer leaves of the slots, it never lacks one.
    pub(in crate::exchange::latest) fn show_away(&mut self, written: u64, most: usize) -> Option<(usize, u64)> {
        self.reach(written);
        if self.away().count() >= most {
            return None;
        }
        let finished = self.slots.iter().enumerate().filter_map(|(index, slot)| match *slot {
            Slot::Published { frame, value } if value <= written && Some(frame) > self.shown => Some((frame, index)),
            _ => None,
        });
        let (frame, slot) = finished.max()?;
        self.slots[slot] = Slot::Away;
        self.shown = Some(frame);
        Some((slot, frame))
    }

    /// The reader was not told of a frame that it was given with [`show_away`](Self::show_away):
    /// it has never held the slot.
    #[cfg(all(target_os = "linux", feature = "remote"))]
    pub(in crate::exchange::latest) fn unshow_away(&mut self, slot: usize, frame: u64) {
        if self.shown != Some(frame) {
            return self.come_back(slot);
        }
        if let Some(held @ Slot::Away) = self.slots.get_mut(slot) {
            *held = Slot::Published { frame, value: self.finished };
            self.shown = frame.checked_sub(1);
        }
    }

    /// Returns `true` if a frame that the reader has not had will be finished once the writer's
    /// timeline rises, which notifies nobody.
    pub(in crate::exchange::latest) fn is_drawing(&self, written: u64) -> bool {
        self.slots.iter().any(|slot| match *slot {
            Slot::Published { frame, value } => value > written && Some(frame) > self.shown,
            _ => false,
        })
    }

    /// The other process does nothing more with a slot that it holds, and has left no frame in it.
    pub(in crate::exchange::latest) fn come_back(&mut self, slot: usize) {
        if let Some(held @ Slot::Away) = self.slots.get_mut(slot) {
            *held = Slot::Free { behind: Behind::default() };
        }
    }

    /// The slots that the other process holds.
    pub(in crate::exchange::latest) fn away(&self) -> impl Iterator<Item = usize> {
        self.slots.iter().enumerate().filter(|(_, slot)| **slot == Slot::Away).map(|(index, _)| index)
    }
}
