//! Threads and locks of the stream; `schedules` replaces them with those of a scheduler.

pub(super) use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak, atomic};
pub(super) use std::thread;
