//! Atomics of the history; `schedules` replaces them with those of a scheduler.

pub(super) use std::sync::atomic;
