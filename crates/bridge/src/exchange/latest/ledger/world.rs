//! The model: the actual contents of the slots, and the frame that the reader should get.

use std::collections::VecDeque;

use super::super::{ChosenFrame, LastUses, Ledger, Newest, Refusal};

#[path = "world_remote.rs"]
mod remote;
#[path = "step.rs"]
mod step;

pub(super) use step::{FAULTS, REMOTE_READER, REMOTE_WRITER, Step, VALID, WRITER_FAULTS};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Sizes {
    pub(super) slots: usize,
    pub(super) writer: usize,
    pub(super) reader: usize,
}

impl Sizes {
    pub(super) fn minimum(writer: usize, reader: usize) -> Self {
        Self { slots: writer + reader + 2, writer, reader }
    }
}

/// Actual contents of a slot, and its last uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Content {
    /// `None` during and after a write of anything but a whole frame.
    pub(super) frame: Option<u64>,
    /// The value of the writer's last submission with the slot.
    pub(super) written: u64,
    /// The value of the reader's last submission with the slot since then.
    pub(super) read: u64,
    /// `true` if a lent turn of the reader was dropped and the slot was not initialized since.
    pub(super) retired: bool,
    /// `true` if the other process holds it.
    pub(super) remote: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) sizes: Sizes,
    pub(super) ledger: Ledger,
    pub(super) contents: Vec<Content>,
    pub(super) writing: Option<usize>,
    /// Values of the writer's timeline that are not reached, each with its frame if one was
    /// published.
    pub(super) unwritten: VecDeque<(u64, Option<u64>)>,
    /// Values of the last frames, as many as may be unfinished.
    pub(super) recent: VecDeque<u64>,
    pub(super) written: u64,
    pub(super) reached: u64,
    /// The newest finished frame.
    pub(super) finished: Option<u64>,
    pub(super) published: Option<u64>,
    pub(super) reading: Option<ChosenFrame>,
    pub(super) held: Option<usize>,
    pub(super) unread: VecDeque<u64>,
    pub(super) read: u64,
    pub(super) read_reached: u64,
    pub(super) last_taken: Option<u64>,
    /// `true` if a turn was lost at some time, so that fewer slots are in use.
    pub(super) lost: bool,
    /// `true` if the writer is in another process, which holds slots instead of having turns.
    pub(super) remote_writer: bool,
    /// `true` if the reader is in another process, which holds slots instead of having turns.
    pub(super) remote_reader: bool,
    /// A control: the writer waits for nothing, and the other process gets slots that are still
    /// used.
    pub(super) skip_waits: bool,
    /// A control: finished frames of another process are read without a signal.
    pub(super) skip_signals: bool,
    /// A control: retired slots are initialized again without a wait for the writer.
    pub(super) skip_revival_wait: bool,
    /// The number of faults that may still happen.
    pub(super) faults: usize,
}

impl World {
    pub(super) fn new(sizes: Sizes, newest: Newest, faults: usize) -> Self {
        Self {
            faults,
            skip_waits: false,
            skip_signals: false,
            skip_revival_wait: false,
            remote_writer: false,
            remote_reader: false,
            sizes,
            ledger: Ledger::new(sizes.slots, newest),
            contents: vec![Content::default(); sizes.slots],
            writing: None,
            unwritten: VecDeque::new(),
            recent: VecDeque::new(),
            written: 0,
            reached: 0,
            finished: None,
            published: None,
            reading: None,
            held: None,
            unread: VecDeque::new(),
            read: 0,
            read_reached: 0,
            last_taken: None,
            lost: false,
        }
    }

    /// Returns the frame that the reader should get next, if it is newer than its last one.
    fn expected_frame(&self) -> Option<u64> {
        let newest = if self.ledger.newest == Newest::Published { self.published } else { self.finished };
        newest.filter(|_| newest > self.last_taken)
    }

    /// Takes a step if it is possible. Returns `true` if it was.
    pub(super) fn step(&mut self, step: Step) -> Result<bool, String> {
        let possible = match step {
            Step::Begin => self.writing.is_none() && self.unwritten.len() < self.sizes.writer,
            Step::Publish | Step::SkipWrite => self.writing.is_some(),
            Step::DropWrite | Step::LoseWrite(_) => self.faults > 0 && self.writing.is_some(),
            Step::Newest => self.reading.is_none() && self.unread.len() < self.sizes.reader,
            Step::Read | Step::SkipRead => self.reading.is_some(),
            Step::LoseRead(_) => self.faults > 0 && self.reading.is_some(),
            Step::SendSlot | Step::SendFrame => true,
            Step::PublishRemote | Step::Reclaim => self.contents.iter().any(|content| content.remote),
            // The host sees the end of the hand-over, which follows everything that it waits for.
            Step::OnRevived => {
                let waited = self.skip_revival_wait || self.ledger.retired_after() <= self.reached;
                waited && self.unread.is_empty() && self.reading.is_none()
            }
            Step::Written => !self.unwritten.is_empty(),
            // Commands end after the signal that they wait for.
            Step::Rendered => self.unread.front().is_some_and(|read| {
                self.contents.iter().all(|content| content.read != *read || content.written <= self.reached)
            }),
        };
        if possible {
            let fault = matches!(step, Step::DropWrite | Step::LoseWrite(_) | Step::LoseRead(_));
            self.faults -= usize::from(fault);
            match step {
                Step::Begin => self.begin()?,
                Step::Newest => self.newest()?,
                Step::OnRevived => self.revive()?,
                Step::SendSlot => return self.send_slot(),
                Step::SendFrame => return self.send_frame(),
                _ => self.end(step),
            }
        }
        Ok(possible)
    }

    fn begin(&mut self) -> Result<(), String> {
        // The value seen by the wait for the oldest of the last frames.
        let known = if self.recent.len() == self.sizes.writer { self.recent[0] } else { 0 };
        let begun = match self.ledger.begin(known, || self.reached) {
            Ok(begun) => begun,
            Err(Refusal::Lost { .. } | Refusal::NoSlot { .. }) if self.lost => return Ok(()),
            Err(refusal) => return Err(format!("begin was refused: {refusal:?}")),
        };
        let slot = begun.slot;
        let of_turn = self.reading.filter(|turn| turn.slot == slot || turn.replaced_slot == Some(slot));
        let Content { retired, remote, .. } = self.contents[slot];
        if of_turn.is_some() || self.held == Some(slot) || retired || remote {
            return Err(format!("slot {slot} is the reader's"));
        }
        let Content { written, read, .. } = self.contents[slot];
        let last_uses = if self.skip_waits && !self.remote_reader { LastUses::default() } else { begun.last_uses };
        // A reader of the slot had waited for its publication.
        if read > last_uses.read
            || read == 0 && written > last_uses.written.max(self.reached) && last_uses.written < written
        {
            return Err(format!("slot {slot} is not waited for: {:?} behind {last_uses:?}", self.contents[slot]));
        }
        if last_uses.read > self.read_reached && !self.lost {
            return Err(format!("the writer waits for the reader: {last_uses:?}"));
        }
        let wanted = self.expected_frame();
        self.contents[slot].frame = None;
        if wanted.is_some() && !self.contents.iter().any(|content| content.frame == wanted) {
            return Err(format!("the newest frame, {wanted:?}, was given to the writer"));
        }
        self.writing = Some(slot);
        Ok(())
    }

    fn newest(&mut self) -> Result<(), String> {
        let chosen = self.ledger.newest(self.reached).map_err(|refusal| format!("newest was refused: {refusal:?}"))?;
        let wanted = self.expected_frame();
        let chosen = chosen.map(|chosen| self.signal(chosen));
        let Some(chosen) = chosen else {
            return if wanted.is_none() && self.held.is_none() { Ok(()) } else { Err("no frame".into()) };
        };
        let expected = wanted.or(self.held.and_then(|slot| self.contents[slot].frame));
        if Some(chosen.frame) != expected || self.contents[chosen.slot].frame != expected {
            return Err(format!("{chosen:?} and not {expected:?}, in slots {:?}", self.contents));
        }
        if Some(chosen.frame) < self.last_taken || chosen.is_new != wanted.is_some() {
            return Err(format!("{chosen:?} after {:?}", self.last_taken));
        }
        if chosen.value == 0 || self.contents[chosen.slot].written != chosen.value || self.writing == Some(chosen.slot)
        {
            return Err(format!("{chosen:?} is not waited for"));
        }
        if chosen.is_new && chosen.replaced_slot != self.held {
            return Err(format!("{chosen:?} does not give {:?} back", self.held));
        }
        self.reading = Some(chosen);
        Ok(())
    }

    /// Initializes the retired slots again.
    fn revive(&mut self) -> Result<(), String> {
        let retired: Vec<_> = self.ledger.retired_slots().collect();
        let written = |slot: &usize| self.contents[*slot].written > self.reached;
        if let Some(slot) = retired.iter().find(|slot| written(slot)) {
            return Err(format!("slot {slot} is initialized while it is written: {:?}", self.contents[*slot]));
        }
        self.ledger.revive(&retired, 0);
        // The host has seen the end of all uses of the slots.
        self.contents.iter_mut().filter(|slot| slot.retired).for_each(|slot| *slot = Content::default());
        Ok(())
    }

    fn end(&mut self, step: Step) {
        match step {
            Step::Publish | Step::SkipWrite | Step::DropWrite | Step::LoseWrite(_) => self.end_write(step),
            Step::Read | Step::SkipRead | Step::LoseRead(_) => self.end_read(step),
            Step::Written => {
                let Some((value, frame)) = self.unwritten.pop_front() else { return };
                self.reached = value;
                self.finished = self.finished.max(frame);
            }
            Step::Rendered => self.read_reached = self.unread.pop_front().unwrap(),
            Step::PublishRemote => {
                let Some(slot) = self.contents.iter().position(|content| content.remote) else { return };
                self.publish_remote(slot);
            }
            Step::Reclaim => {
                let Some(slot) = self.contents.iter().position(|content| content.remote) else { return };
                self.contents[slot] = Content::default();
                self.ledger.reclaim(slot);
            }
            Step::Begin | Step::Newest | Step::OnRevived | Step::SendSlot | Step::SendFrame => {}
        }
    }

    fn end_write(&mut self, step: Step) {
        let slot = self.writing.take().unwrap();
        let content = &mut self.contents[slot];
        match step {
            Step::Publish => {
                self.written += 1;
                let frame = self.published.map_or(0, |frame| frame + 1);
                let frame = frame.max(self.ledger.next);
                self.published = Some(frame);
                *content = Content { frame: Some(frame), written: self.written, ..Content::default() };
                self.unwritten.push_back((self.written, Some(frame)));
                self.ledger.publish(slot, self.written);
                self.recent.push_back(self.written);
                if self.recent.len() > self.sizes.writer {
                    self.recent.pop_front();
                }
            }
            Step::LoseWrite(happened) => {
                self.lost = true;
                self.written += 1;
                if happened {
                    *content = Content { written: self.written, ..Content::default() };
                    self.unwritten.push_back((self.written, None));
                }
                self.ledger.lose_write(slot, self.written);
            }
            Step::DropWrite => {
                self.lost = true;
                self.ledger.drop_write(slot);
            }
            _ => self.ledger.skip_write(slot),
        }
    }

    fn end_read(&mut self, step: Step) {
        let chosen = self.reading.take().unwrap();
        let happened = !matches!(step, Step::SkipRead | Step::LoseRead(false));
        if happened {
            self.read += 1;
            self.unread.push_back(self.read);
            for slot in chosen.replaced_slot.into_iter().chain([chosen.slot]) {
                self.contents[slot].read = self.read;
            }
        }
        match step {
            Step::Read => {
                self.ledger.read(self.read);
                self.held = Some(chosen.slot);
                self.last_taken = Some(chosen.frame);
            }
            Step::LoseRead(_) => {
                self.ledger.lose_read();
                if chosen.is_new {
                    self.lost = true;
                    for slot in chosen.replaced_slot.into_iter().chain([chosen.slot]) {
                        self.contents[slot].retired = true;
                    }
                    self.held = None;
                    self.last_taken = Some(chosen.frame);
                }
            }
            _ => self.ledger.skip_read(),
        }
    }
}
