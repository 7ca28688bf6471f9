//! A model of an exchange without its contents: the holder of each slot, and the result of the next
//! call.

use bridge::{Error, Stage};

/// The holder of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SlotState {
    Free,
    Compute {
        frame: u64,
    },
    Render {
        frame: u64,
    },
    Lent {
        frame: u64,
        value: u64,
    },
    /// Lent, and dropped without reporting whether it was submitted.
    Unknown {
        frame: u64,
        value: u64,
    },
    /// Lost with the compute side.
    Dead,
}

/// An error, as far as the model distinguishes errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    TurnOpen { frame: u64, stage: Stage },
    SlotBusy { slot: usize, frame: u64 },
    TurnLost { frame: u64, stage: Stage },
    Replaced { frame: u64, stage: Stage },
    OutOfOrder { frame: u64, first: u64 },
    HostFailed,
    Timeout { value: u64 },
}

impl Refused {
    /// Returns the model's error.
    ///
    /// # Panics
    ///
    /// If the model has no such error.
    pub(crate) fn of(error: &Error) -> Self {
        match *error {
            Error::TurnOpen { frame, stage, .. } => Self::TurnOpen { frame, stage },
            Error::SlotBusy { slot, frame, .. } => Self::SlotBusy { slot, frame },
            Error::TurnLost { frame, stage, .. } => Self::TurnLost { frame, stage },
            Error::ReplacedWhileOpen { frame, stage, .. } => Self::Replaced { frame, stage },
            Error::OutOfOrder { frame, first, .. } => Self::OutOfOrder { frame, first },
            Error::HostFailed { .. } => Self::HostFailed,
            Error::Timeout { value, .. } => Self::Timeout { value },
            ref error => panic!("nothing in a case leads to this: {error}"),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) vulkan_first: bool,
    pub(crate) slots: Vec<SlotState>,
    pub(crate) next: u64,
    pub(crate) lost: Option<(u64, Stage)>,
    /// The highest value of `rendered` that was submitted, or lent and not retracted.
    pub(crate) taken: u64,
    /// The highest value that was submitted.
    pub(crate) submitted: u64,
    /// The highest value that the exchange knows to be submitted.
    pub(crate) known: u64,
}

impl Model {
    pub(crate) fn new(vulkan_first: bool, slots: usize) -> Self {
        Self {
            vulkan_first,
            slots: vec![SlotState::Free; slots],
            next: 0,
            lost: None,
            taken: 0,
            submitted: 0,
            known: 0,
        }
    }

    /// Returns the result of `begin`: the frame, or the error. If `has_unknown`, everything
    /// submitted is known to have ended.
    pub(crate) fn begin(&mut self) -> Result<u64, Refused> {
        if let Some((frame, stage)) = self.lost.take() {
            return Err(Refused::TurnLost { frame, stage });
        }
        let open = self.slots.iter().find_map(|hold| match *hold {
            SlotState::Compute { frame } => Some((frame, Stage::Compute)),
            SlotState::Render { frame } if self.vulkan_first => Some((frame, Stage::Render)),
            SlotState::Lent { frame, .. } if self.vulkan_first => Some((frame, Stage::Submit)),
            _ => None,
        });
        if let Some((frame, stage)) = open {
            return Err(Refused::TurnOpen { frame, stage });
        }
        for hold in &mut self.slots {
            if matches!(*hold, SlotState::Unknown { value, .. } if value <= self.submitted) {
                *hold = SlotState::Free;
            }
        }
        if self.slots.contains(&SlotState::Free) {
            self.next += 1;
            return Ok(self.next - 1);
        }
        let held = self.slots.iter().enumerate().filter_map(|(slot, hold)| match *hold {
            SlotState::Render { frame } | SlotState::Lent { frame, .. } => Some((frame, slot)),
            _ => None,
        });
        if let Some((frame, slot)) = held.min() {
            return Err(Refused::SlotBusy { slot, frame });
        }
        let unknown = self.slots.iter().filter_map(|hold| match *hold {
            SlotState::Unknown { frame, .. } => Some(frame),
            _ => None,
        });
        let frame = unknown.min().unwrap_or_else(|| panic!("no slot is free, and none is held: {self:?}"));
        Err(Refused::TurnLost { frame, stage: Stage::Submit })
    }

    /// Returns the result of `replace`. Buffers are copied, images are handed over again.
    pub(crate) fn replace(&mut self, failed: bool, buffers: bool, images: bool) -> Result<(), Refused> {
        if let Some((frame, stage)) = self.open_use() {
            return Err(Refused::Replaced { frame, stage });
        }
        if failed {
            return Err(Refused::HostFailed);
        }
        // One signal after the turns that may or may not have been submitted, and one after the
        // hand-over.
        for _ in 0..usize::from(buffers && self.taken > self.known) + usize::from(images) {
            self.taken += 1;
            self.note_submitted(self.taken);
        }
        self.slots.fill(SlotState::Free);
        Ok(())
    }

    /// Returns a turn that uses the slots, of either side.
    fn open_use(&self) -> Option<(u64, Stage)> {
        self.slots.iter().find_map(|hold| match *hold {
            SlotState::Compute { frame } => Some((frame, Stage::Compute)),
            SlotState::Render { frame } => Some((frame, Stage::Render)),
            SlotState::Lent { frame, .. } => Some((frame, Stage::Submit)),
            SlotState::Free | SlotState::Unknown { .. } | SlotState::Dead => None,
        })
    }

    /// Returns `true` if the outcome of a lent turn affects the next `begin`.
    pub(crate) fn has_unknown(&self) -> bool {
        self.slots.iter().any(|hold| matches!(hold, SlotState::Unknown { .. }))
    }

    /// Returns the lent frame. No other frame can be submitted meanwhile.
    pub(crate) fn lent(&self) -> Option<u64> {
        self.slots.iter().find_map(|hold| match *hold {
            SlotState::Lent { frame, .. } => Some(frame),
            _ => None,
        })
    }

    /// Returns the value that `submit` and `lend` take, or the error with which the frame is lost.
    pub(crate) fn take_value(&mut self, frame: u64, slot: usize) -> Result<u64, Refused> {
        if let Some(first) = self.lent() {
            self.drop_render(frame, slot);
            return Err(Refused::OutOfOrder { frame, first });
        }
        self.taken += 1;
        Ok(self.taken)
    }

    /// Notes that a value was submitted and that the exchange knows it.
    pub(crate) fn note_submitted(&mut self, value: u64) {
        self.submitted = value;
        self.known = value;
    }

    /// Notes that a compute turn is dropped, or that its end fails.
    pub(crate) fn drop_compute(&mut self, frame: u64, slot: usize, failed: bool) {
        self.lost = Some((frame, Stage::Compute));
        if !self.vulkan_first {
            self.next = frame;
        }
        self.slots[slot] = if self.vulkan_first && failed { SlotState::Dead } else { SlotState::Free };
    }

    pub(crate) fn drop_render(&mut self, frame: u64, slot: usize) {
        self.lost = Some((frame, Stage::Render));
        self.slots[slot] = SlotState::Free;
    }

    /// Returns the result of `close`.
    pub(crate) fn close(&self) -> Result<(), Refused> {
        match self.open_use() {
            Some((frame, stage)) => Err(Refused::TurnOpen { frame, stage }),
            None => Ok(()),
        }
    }
}
