//! The model of a side in another process.

use super::{ChosenFrame, Content, World};

impl World {
    /// Publishes a slot that the writer has filled. The frame is finished.
    pub(super) fn publish_remote(&mut self, slot: usize) {
        let frame = self.published.map_or(0, |frame| frame + 1);
        self.published = Some(frame);
        self.contents[slot] = Content { frame: Some(frame), ..Content::default() };
        self.finished = Some(frame);
        self.ledger.publish_remote(slot);
    }

    /// Signals a frame that was published without a value, once it is chosen. The signal arrives
    /// later.
    pub(super) fn signal(&mut self, chosen: ChosenFrame) -> ChosenFrame {
        if !chosen.is_unsignaled() || self.skip_signals {
            return chosen;
        }
        self.written += 1;
        self.contents[chosen.slot].written = self.written;
        self.unwritten.push_back((self.written, Some(chosen.frame)));
        self.ledger.set_signal(self.written).unwrap_or(chosen)
    }

    /// Gives the writer a slot if there is one. Returns `true` if there was.
    pub(super) fn send_slot(&mut self) -> Result<bool, String> {
        let reads = if self.skip_waits { u64::MAX } else { self.read_reached };
        // The frame that the reader should get next, or the one after its last.
        let floor = self.expected_frame().or(self.last_taken.map(|frame| frame + 1));
        let of_reader = |slot| {
            let of_turn = self.reading.is_some_and(|turn| turn.slot == slot || turn.replaced_slot == Some(slot));
            of_turn || self.held == Some(slot)
        };
        let is_free = |(slot, content): (usize, &Content)| {
            // A reader of the slot had waited for its publication.
            let ended = content.read <= self.read_reached && (content.read > 0 || content.written <= self.reached);
            let unwanted = content.frame.is_none() || content.frame < floor;
            !content.remote && !content.retired && !of_reader(slot) && ended && unwanted
        };
        let free: Vec<_> = self.contents.iter().enumerate().map(is_free).collect();
        // The slots that are free once all work has ended, without another step of the reader.
        let last =
            self.published.filter(|_| self.published > self.last_taken).or(self.last_taken.map(|frame| frame + 1));
        let is_free_later = |(slot, content): (usize, &Content)| {
            let unwanted = content.frame.is_none() || content.frame < last;
            !content.remote && !content.retired && !of_reader(slot) && unwanted
        };
        let later = self.contents.iter().enumerate().any(is_free_later);
        let Some((slot, was_read)) = self.ledger.send_slot(reads, self.reached) else {
            if free.contains(&true) || later && !self.ledger.awaits_timeline(self.read_reached, self.reached) {
                return Err(format!("a slot is kept back, or nobody queries again: {free:?}"));
            }
            return Ok(false);
        };
        if !free[slot] {
            return Err(format!("slot {slot} is in use: {:?}", self.contents[slot]));
        }
        if was_read != (self.contents[slot].read > 0) {
            return Err(format!("slot {slot} was read: {was_read}, {:?}", self.contents[slot]));
        }
        self.contents[slot] = Content { remote: true, ..Content::default() };
        Ok(true)
    }

    /// Gives the reader the newest frame if it may have it. Returns `true` if it may.
    pub(super) fn send_frame(&mut self) -> Result<bool, String> {
        let most = self.sizes.slots - self.sizes.writer - 1;
        let reached = if self.skip_waits { u64::MAX } else { self.reached };
        let wanted =
            self.expected_frame().filter(|_| self.contents.iter().filter(|content| content.remote).count() < most);
        let sent = self.ledger.send_frame(reached, most);
        if let Some((slot, frame)) = sent {
            if Some(frame) != wanted || self.contents[slot].frame != wanted || self.contents[slot].remote {
                return Err(format!("frame {frame} in slot {slot} is sent instead of {wanted:?}: {:?}", self.contents));
            }
            self.contents[slot] = Content { remote: true, ..Content::default() };
            self.last_taken = Some(frame);
        } else if wanted.is_some() {
            return Err(format!("{wanted:?} is kept back"));
        }
        let drawing = self.unwritten.iter().any(|(_, frame)| frame.is_some() && *frame > self.last_taken);
        if self.ledger.has_unfinished_frame(self.reached) != drawing {
            return Err(format!("whether a frame is being drawn is reported wrongly: {drawing}"));
        }
        Ok(sent.is_some())
    }
}
