//! Locks of the ledger; the `schedules` tests replace them with those of a scheduler.

pub(super) use std::sync::MutexGuard;

pub(super) use super::signal_lock::SignalLock;
pub(super) use crate::observe::frame_mutex::FrameMutex;
