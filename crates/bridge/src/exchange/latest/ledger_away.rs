//! Operations for a writer or a reader in another process, which holds several slots between its
//! messages and has no turns here.
//!
//! It gets a slot once all earlier uses of the slot have ended. Work that is enqueued here
//! therefore never waits for that process.

use super::{Behind, Chosen, Ledger, Slot};

impl Chosen {
    /// Returns `true` if the frame is finished, but no signal says so to Vulkan: that signal must
    /// be [made](Ledger::signaled).
    pub(in crate::exchange::latest) fn is_unsignaled(&self) -> bool {
        self.new && self.value == 0
    }
}

impl Ledger {
    /// Gives the writer a slot without a frame that the reader wants, and whose last uses have
    /// ended: the reader's timeline has reached `read`, and the writer's `written`. Of several,
    /// takes the one whose last use by the reader is the oldest. Returns the slot, and whether
    /// Vulkan has used it since the writer last had it.
    pub(in crate::exchange::latest) fn send_away(&mut self, read: u64, written: u64) -> Option<(usize, bool)> {
        self.reach(written);
        let floor = self.survey(self.finished).floor;
        let free = self.slots.iter().enumerate().filter_map(|(index, slot)| Some((slot.free(floor)?, index)));
        let ended = free.filter(|(behind, _)| behind.read <= read && behind.written <= written);
        let (behind, slot) = ended.min()?;
        self.slots[slot] = Slot::Away;
        Some((slot, behind.read > 0 || behind.revived))
    }

    /// Returns `true` if a slot may become the writer's as soon as a timeline rises, without a
    /// notification: once the last use of a slot has ended, or once a frame is finished that
    /// supersedes another one.
    pub(in crate::exchange::latest) fn is_ending(&self, read: u64, written: u64) -> bool {
        let floor = self.survey(self.finished).floor;
        let ends = |behind: Behind| behind.read > read || behind.written > written;
        self.slots.iter().any(|slot| match *slot {
            Slot::Published { value, .. } if value > written => true,
            _ => slot.free(floor).is_some_and(ends),
        })
    }

    /// Publishes a slot that the writer holds and has filled. Returns the frame's number.
    ///
    /// The frame is finished: the reader may get it, and no longer wants earlier ones. It is
    /// signaled only once it is [chosen](Self::signaled), because most frames of a fast writer
    /// never are.
    pub(in crate::exchange::latest) fn publish_away(&mut self, slot: usize) -> Option<u64> {
        let held = self.slots.get_mut(slot).filter(|held| **held == Slot::Away)?;
        let frame = self.next;
        *held = Slot::Published { frame, value: 0 };
        self.next += 1;
        Some(frame)
    }

    /// Gives the frame of the reader's open turn, which another process has finished, a `value` for
    /// Vulkan to wait for. This process is about to signal that value.
    pub(in crate::exchange::latest) fn signaled(&mut self, value: u64) -> Option<Chosen> {
        let chosen = self.reading.as_mut().filter(|chosen| chosen.is_unsignaled())?;
        chosen.value = value;
        self.slots[chosen.slot] = Slot::Taking { frame: chosen.frame, value };
        // If the frame is skipped, it may be chosen again at once.
        self.finished = self.finished.max(value);
        Some(*chosen)
    }

    /// Gives the reader the newest finished frame; the writer's timeline has reached `written`.
    /// Returns the slot and the frame's number, or `None` if the reader has had that frame or a
    /// newer one, or holds `most` slots.
    ///
    /// If `most` is the number of slots minus the writer's frames in flight minus one, the writer
    /// always has a slot.
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

    /// Reverts [`show_away`](Self::show_away) for a frame that the reader was not notified of. It
    /// has never held the slot.
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

    /// Returns `true` if a frame that the reader has not had will be finished, without a
    /// notification, once the writer's timeline rises.
    pub(in crate::exchange::latest) fn is_drawing(&self, written: u64) -> bool {
        self.slots.iter().any(|slot| match *slot {
            Slot::Published { frame, value } => value > written && Some(frame) > self.shown,
            _ => false,
        })
    }

    /// Frees a slot that the other process held and no longer uses. It contains no frame.
    pub(in crate::exchange::latest) fn come_back(&mut self, slot: usize) {
        if let Some(held @ Slot::Away) = self.slots.get_mut(slot) {
            *held = Slot::Free { behind: Behind::default() };
        }
    }

    /// Returns the slots that the other process holds.
    pub(in crate::exchange::latest) fn away(&self) -> impl Iterator<Item = usize> {
        self.slots.iter().enumerate().filter(|(_, slot)| **slot == Slot::Away).map(|(index, _)| index)
    }
}
