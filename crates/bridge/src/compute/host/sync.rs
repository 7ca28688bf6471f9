//! Threads and locks of the stream, which `schedules` replaces with those of a test scheduler.

pub(super) use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak, atomic};
pub(super) use std::thread;
