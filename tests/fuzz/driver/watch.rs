//! Pending signals of the exporting side, and a thread that completes them once a call waits for
//! them. The operations of a case run one after the other, so nothing else could unblock a call.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use driver_double::Double;

/// The error code in cuda.h.
const NOT_READY: u32 = 600;

/// Number of queries after which a call counts as waiting.
const WAITING_QUERIES: usize = 3;

#[derive(Debug, Default)]
pub(crate) struct Gates {
    pending: Mutex<Pending>,
}

#[derive(Debug, Default)]
struct Pending {
    /// Signals that the exporting side has enqueued, as semaphore and value.
    signals: VecDeque<(u64, u64)>,
    /// `true` if the cases have ended.
    ended: bool,
}

impl Gates {
    /// Enqueues a signal as the exporting side.
    pub(crate) fn submit(&self, double: &Double, number: u64, value: u64) {
        double.submit_signal(number, value);
        self.pending().signals.push_back((number, value));
    }

    /// Completes the oldest signal.
    pub(crate) fn complete_one(&self, double: &Double) {
        let mut pending = self.pending();
        if let Some((number, value)) = pending.signals.pop_front() {
            double.complete_signal(number, value);
        }
    }

    /// Completes all pending signals and releases held work.
    pub(crate) fn open(&self, double: &Double) {
        let mut pending = self.pending();
        double.release_work();
        for (number, value) in pending.signals.drain(..) {
            double.complete_signal(number, value);
        }
    }

    /// Opens the gates whenever a call blocks or polls repeatedly, until [`end`](Self::end).
    pub(crate) fn watch(&self, double: &Double) {
        while !self.pending().ended {
            std::thread::sleep(Duration::from_micros(500));
            let asked = || double.calls().iter().filter(|call| call.code == NOT_READY).count();
            if !double.blocked_calls().is_empty() || asked() >= WAITING_QUERIES {
                self.open(double);
            }
        }
    }

    pub(crate) fn end(&self) {
        self.pending().ended = true;
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
