//! What the stream and its thread are made of: `schedules` puts a scheduler in its place.

pub(super) use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak, atomic};
pub(super) use std::thread;
