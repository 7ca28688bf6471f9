//! Operations last enqueued on an exchange's two timelines, for the message of a wait that did not
//! end.

use super::sync::atomic::{AtomicU64, Ordering};
use crate::timeline::signaler::Signaler;
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
    pub(crate) fn signaled(&self, signaler: Signaler, value: u64) {
        raise(&self.marks(signaler).signal, value);
    }

    #[inline]
    pub(crate) fn waited(&self, signaler: Signaler, value: u64) {
        raise(&self.marks(signaler).wait, value);
    }

    /// The highest value whose signal was enqueued; 0 before the first.
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

/// What is more than a part of a message, the signals of the compute side, is noted under the lock
/// under which they are made, in order. So there is no need for an atomic maximum, which every
/// frame would pay for four times.
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
