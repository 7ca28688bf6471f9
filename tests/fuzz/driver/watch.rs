//! What the exporting side has still to do, and a thread that lets it be done once somebody waits
//! for it: the operations of a case are one after the other, and a call that blocks has nobody
//! else.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use driver_double::Double;

/// As cuda.h has it.
const NOT_READY: u32 = 600;

/// Asked so often, it is waited for.
const OFTEN: usize = 3;

#[derive(Debug, Default)]
pub(crate) struct Gates {
    pending: Mutex<Pending>,
}

#[derive(Debug, Default)]
struct Pending {
    /// Signals that the exporting side has enqueued: of which semaphore, to which value.
    signals: VecDeque<(u64, u64)>,
    /// No case runs.
    ended: bool,
}

impl Gates {
    /// The exporting side enqueues a signal.
    pub(crate) fn submit(&self, double: &Double, number: u64, value: u64) {
        double.submit_signal(number, value);
        self.pending().signals.push_back((number, value));
    }

    /// Its oldest signal completes.
    pub(crate) fn complete_one(&self, double: &Double) {
        let mut pending = self.pending();
        if let Some((number, value)) = pending.signals.pop_front() {
            double.complete_signal(number, value);
        }
    }

    /// All that anybody waits for comes.
    pub(crate) fn open(&self, double: &Double) {
        let mut pending = self.pending();
        double.let_work_go();
        for (number, value) in pending.signals.drain(..) {
            double.complete_signal(number, value);
        }
    }

    /// Opens them whenever a call blocks or asks again and again, until [`end`](Self::end).
    pub(crate) fn watch(&self, double: &Double) {
        while !self.pending().ended {
            std::thread::sleep(Duration::from_micros(500));
            let asked = || double.calls().iter().filter(|call| call.code == NOT_READY).count();
            if !double.blocked_calls().is_empty() || asked() >= OFTEN {
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
