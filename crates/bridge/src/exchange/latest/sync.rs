//! Locks of the ledger; `schedules` replaces them with those of a scheduler.

pub(super) use std::sync::{Mutex, MutexGuard, PoisonError};
