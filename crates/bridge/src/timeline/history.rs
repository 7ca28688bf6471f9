//! The operations last enqueued on an exchange's two timelines, for the message of a wait that
//! timed out.

use super::sync::atomic::{AtomicU64, Ordering};
use crate::signaler::Signaler;
use std::fmt;

/// The last signal and the last wait that were enqueued on each timeline of an exchange.
#[derive(Debug)]
pub(crate) struct History {
    exchange: String,
    computed: Marks,
    rendered: Marks,
}

#[derive(Debug, Default)]
struct Marks {
    signal: AtomicU64,
    wait: AtomicU64,
}

impl History {
    pub(crate) fn new(exchange: &str) -> Self {
        Self { exchange: exchange.to_owned(), computed: Marks::default(), rendered: Marks::default() }
    }

    pub(crate) fn exchange(&self) -> &str {
        &self.exchange
    }

    #[inline]
    pub(crate) fn record_signal(&self, signaler: Signaler, value: u64) {
        match signaler {
            // The compute side enqueues signals in order, under a lock that is still held here. If
            // it is a worker, one thread announces them.
            Signaler::Compute => raise(&self.computed.signal, value),
            // The end of a lent turn is recorded outside the lock, by any thread.
            Signaler::Queue => {
                self.rendered.signal.fetch_max(value, Ordering::AcqRel);
            }
        }
    }

    #[inline]
    pub(crate) fn record_wait(&self, signaler: Signaler, value: u64) {
        raise(&self.marks(signaler).wait, value);
    }

    /// Returns the highest value whose signal was enqueued; 0 before the first.
    pub(crate) fn last_signal(&self, signaler: Signaler) -> u64 {
        self.marks(signaler).signal.load(Ordering::Acquire)
    }

    #[inline]
    fn marks(&self, signaler: Signaler) -> &Marks {
        match signaler {
            Signaler::Compute => &self.computed,
            Signaler::Queue => &self.rendered,
        }
    }
}

/// Raises `mark`, whose values are recorded by one thread at a time in order, or only appear in a
/// message. An atomic maximum would cost more in every frame.
#[inline]
fn raise(mark: &AtomicU64, value: u64) {
    if mark.load(Ordering::Relaxed) < value {
        mark.store(value, Ordering::Release);
    }
}

impl fmt::Display for Marks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = |mark: &AtomicU64| match mark.load(Ordering::Acquire) {
            0 => "none".to_owned(),
            value => value.to_string(),
        };
        write!(f, "signal {}, wait {}", value(&self.signal), value(&self.wait))
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "computed: {}; rendered: {}", self.computed, self.rendered)
    }
}
