//! Atomics of the history; the `schedules` tests replace them with those of a scheduler.

pub(super) use std::sync::atomic;
