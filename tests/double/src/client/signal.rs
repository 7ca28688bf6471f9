//! Signals of the exporting side, as tests make them.
//!
//! Unsafe because it calls C.
#![allow(unsafe_code)]

use crate::client::Double;

impl Double {
    /// Enqueues a signal as the exporting side.
    pub fn submit_signal(&self, number: u64, value: u64) {
        self.control::<extern "C" fn(u64, u64)>("double_submit_signal")(number, value);
    }

    /// Completes a signal that the exporting side enqueued.
    pub fn complete_signal(&self, number: u64, value: u64) {
        self.control::<extern "C" fn(u64, u64)>("double_complete_signal")(number, value);
    }

    /// Enqueues and completes a signal as the exporting side.
    pub fn signal(&self, number: u64, value: u64) {
        self.submit_signal(number, value);
        self.complete_signal(number, value);
    }

    /// Returns the counter of a timeline, or 1 for a binary semaphore that is signaled.
    pub fn value(&self, number: u64) -> u64 {
        self.control::<extern "C" fn(u64) -> u64>("double_value")(number)
    }

    /// Does what [`signal`](Self::signal) does once `count` queries of this name have returned
    /// `CUDA_ERROR_NOT_READY` from now on, before the last of them returns. A thread that polls
    /// thus ends its own wait, which may have a time limit, however slow the other threads are.
    /// Replaces any signal that was requested before and has not happened.
    pub fn signal_after_queries(&self, name: &str, count: u64, number: u64, value: u64) {
        type Control = unsafe extern "C" fn(*const u8, usize, u64, u64, u64);
        let signal = self.control::<Control>("double_signal_after_queries");
        // SAFETY: a valid name and its length in bytes.
        unsafe { signal(name.as_ptr(), name.len(), count, number, value) };
    }
}
