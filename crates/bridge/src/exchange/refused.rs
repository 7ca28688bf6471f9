//! What the ledger refuses, as errors of the exchange's.

use super::refusal::Refusal;
use super::resources::Resources;
use super::state::State;
use crate::error::Error;

impl<R: Resources> State<R> {
    #[cold]
    pub(super) fn refused(&self, refusal: Refusal) -> Error {
        let exchange = self.name.clone();
        match refusal {
            Refusal::TurnOpen { frame, stage } => Error::TurnOpen { exchange, frame, stage },
            Refusal::SlotBusy { slot, frame } => {
                Error::SlotBusy { exchange, slot, frame, slots: self.held.slots.len() }
            }
            Refusal::TurnLost { frame, stage } => Error::TurnLost { exchange, frame, stage },
            Refusal::NotInitialized => Error::NotInitialized { exchange },
            Refusal::OutOfOrder { frame, first } => Error::OutOfOrder { exchange, frame, first },
        }
    }
}
