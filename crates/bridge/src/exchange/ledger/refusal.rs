//! Reasons why the ledger refuses a step.

use crate::error::{Error, Stage};

/// Reasons why a step is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::exchange) enum Refusal {
    TurnOpen { frame: u64, stage: Stage },
    SlotBusy { slot: usize, frame: u64 },
    TurnLost { frame: u64, stage: Stage },
    OutOfOrder { frame: u64, first: u64 },
    NotInitialized,
    InitialLent,
}

impl Refusal {
    /// Returns the error of an exchange with this name and number of slots.
    #[cold]
    pub(in crate::exchange) fn into_error(self, exchange: &str, slots: usize) -> Error {
        let exchange = exchange.to_owned();
        match self {
            Self::TurnOpen { frame, stage } => Error::TurnOpen { exchange, frame, stage },
            Self::SlotBusy { slot, frame } => Error::SlotBusy { exchange, slot, frame, slots },
            Self::TurnLost { frame, stage } => Error::TurnLost { exchange, frame, stage },
            Self::NotInitialized => Error::NotInitialized { exchange },
            Self::InitialLent => Error::invalid(
                format!("exchange \"{exchange}\""),
                "a hand-over of its images is lent; end that `InitialTurn` first",
            ),
            Self::OutOfOrder { frame, first } => Error::OutOfOrder { exchange, frame, first },
        }
    }
}
