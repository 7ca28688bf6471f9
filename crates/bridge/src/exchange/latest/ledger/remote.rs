//! Operations for a writer or a reader in another process, which holds several slots between its
//! messages and has no turns here.
//!
//! It gets a slot once all earlier uses of the slot have ended. Work that is enqueued here
//! therefore never waits for that process.

use super::{ChosenFrame, LastUses, Ledger, Slot};

impl ChosenFrame {
    /// Returns `true` if the frame is finished, but no signal says so to Vulkan: that signal must
    /// be [made](Ledger::signaled).
    pub(in crate::exchange::latest) fn is_unsignaled(&self) -> bool {
        self.is_new && self.value == 0
    }
}

impl Ledger {
    /// Gives the writer a slot without a frame that the reader wants, and whose last uses have
    /// ended: the reader's timeline has reached `read`, and the writer's `written`. Of several,
    /// takes the one whose last use by the reader is the oldest. Returns the slot, and whether
    /// Vulkan has used it since the writer last had it.
    pub(in crate::exchange::latest) fn send_slot(&mut self, read: u64, written: u64) -> Option<(usize, bool)> {
        self.record_reached(written);
        let floor = self.summarize(self.finished).floor;
        let free = self.slots.iter().enumerate().filter_map(|(index, slot)| Some((slot.free(floor)?, index)));
        let ended = free.filter(|(last_uses, _)| last_uses.read <= read && last_uses.written <= written);
        let (last_uses, slot) = ended.min()?;
        self.slots[slot] = Slot::Remote;
        Some((slot, last_uses.read > 0 || last_uses.revived))
    }

    /// Returns `true` if a slot may become the writer's as soon as a timeline rises, without a
    /// notification: once the last use of a slot has ended, or once a frame is finished that
    /// supersedes another one.
    pub(in crate::exchange::latest) fn awaits_timeline(&self, read: u64, written: u64) -> bool {
        let floor = self.summarize(self.finished).floor;
        let ends = |last_uses: LastUses| last_uses.read > read || last_uses.written > written;
        self.slots.iter().any(|slot| match *slot {
            Slot::Published { value, .. } if value > written => true,
            _ => slot.free(floor).is_some_and(ends),
        })
    }

    /// Publishes a slot that the writer holds and has filled. Returns the frame's number.
    ///
    /// The frame is finished: the reader may get it, and no longer wants earlier ones. It is
    /// signaled only once it is [chosen](Self::set_signal), because most frames of a fast writer
    /// never are.
    pub(in crate::exchange::latest) fn publish_remote(&mut self, slot: usize) -> Option<u64> {
        let held = self.slots.get_mut(slot).filter(|held| **held == Slot::Remote)?;
        let frame = self.next;
        *held = Slot::Published { frame, value: 0 };
        self.next += 1;
        Some(frame)
    }

    /// Gives the frame of the reader's open turn, which another process has finished, a `value` for
    /// Vulkan to wait for. This process is about to signal that value.
    pub(in crate::exchange::latest) fn set_signal(&mut self, value: u64) -> Option<ChosenFrame> {
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
    pub(in crate::exchange::latest) fn send_frame(&mut self, written: u64, most: usize) -> Option<(usize, u64)> {
        self.record_reached(written);
        if self.remote_slots().count() >= most {
            return None;
        }
        let finished = self.slots.iter().enumerate().filter_map(|(index, slot)| match *slot {
            Slot::Published { frame, value } if value <= written && Some(frame) > self.last_taken => {
                Some((frame, index))
            }
            _ => None,
        });
        let (frame, slot) = finished.max()?;
        self.slots[slot] = Slot::Remote;
        self.last_taken = Some(frame);
        Some((slot, frame))
    }

    /// Reverts [`send_frame`](Self::send_frame) for a frame that the reader was not notified of. It
    /// has never held the slot.
    #[cfg(all(target_os = "linux", feature = "remote"))]
    pub(in crate::exchange::latest) fn return_unsent(&mut self, slot: usize, frame: u64) {
        if self.last_taken != Some(frame) {
            return self.reclaim(slot);
        }
        if let Some(held @ Slot::Remote) = self.slots.get_mut(slot) {
            *held = Slot::Published { frame, value: self.finished };
            self.last_taken = frame.checked_sub(1);
        }
    }

    /// Returns `true` if a frame that the reader has not had will be finished, without a
    /// notification, once the writer's timeline rises.
    pub(in crate::exchange::latest) fn has_unfinished_frame(&self, written: u64) -> bool {
        self.slots.iter().any(|slot| match *slot {
            Slot::Published { frame, value } => value > written && Some(frame) > self.last_taken,
            _ => false,
        })
    }

    /// Frees a slot that the other process held and no longer uses. It contains no frame.
    pub(in crate::exchange::latest) fn reclaim(&mut self, slot: usize) {
        if let Some(held @ Slot::Remote) = self.slots.get_mut(slot) {
            *held = Slot::Free { last_uses: LastUses::default() };
        }
    }

    /// Returns the slots that the other process holds.
    pub(in crate::exchange::latest) fn remote_slots(&self) -> impl Iterator<Item = usize> {
        self.slots.iter().enumerate().filter(|(_, slot)| **slot == Slot::Remote).map(|(index, _)| index)
    }
}
