//! Why the ledger refuses a step.

use crate::error::Stage;

/// Reasons why a step is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    TurnOpen { frame: u64, stage: Stage },
    SlotBusy { slot: usize, frame: u64 },
    TurnLost { frame: u64, stage: Stage },
    OutOfOrder { frame: u64, first: u64 },
    NotInitialized,
}
