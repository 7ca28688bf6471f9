//! Locks of the ledger; the `schedules` tests replace them with those of a scheduler.

pub(super) use std::sync::{Mutex, MutexGuard, PoisonError};
