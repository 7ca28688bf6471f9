//! The state of the worker at the other end.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use super::part::Settled;
use crate::error::Error;

/// The state of the worker at the other end of an exchange, for the thread that draws.
pub(super) struct Status {
    exchange: String,
    state: Mutex<State>,
    /// Told when the worker is lost.
    on_loss: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

#[derive(Default)]
struct State {
    worker: u32,
    /// The number of its last frame that was published, or of the last that it was shown.
    whole: Option<u64>,
    lost: Option<Lost>,
}

/// The way in which a worker was lost.
#[derive(Debug, Clone, Default)]
pub(super) struct Lost {
    pub(super) reason: String,
    pub(super) dead: bool,
    pub(super) held: usize,
    pub(super) owed: u64,
    /// What was signalled in its place.
    pub(super) settled: Settled,
}

impl Status {
    pub(super) fn new(exchange: &str) -> Self {
        Self { exchange: exchange.to_owned(), state: Mutex::default(), on_loss: OnceLock::new() }
    }

    pub(super) fn exchange(&self) -> &str {
        &self.exchange
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another worker has come.
    pub(super) fn connected(&self, worker: u32) {
        *self.lock() = State { worker, ..State::default() };
    }

    pub(super) fn published(&self, frame: u64) {
        self.lock().whole = Some(frame);
    }

    /// The first word stands.
    pub(super) fn lost(&self, lost: Lost) {
        self.lock().lost.get_or_insert(lost);
        // The lock is not held.
        if let Some(told) = self.on_loss.get() {
            told();
        }
    }

    /// Something was signalled in the place of a worker that was lost.
    pub(super) fn settled(&self, settled: Settled) {
        if let Some(lost) = &mut self.lock().lost
            && settled.value.is_some()
        {
            lost.settled = settled;
        }
    }

    /// Has `told` called when a worker is lost.
    pub(super) fn on_loss(&self, told: impl Fn() + Send + Sync + 'static) {
        let _ = self.on_loss.set(Box::new(told));
    }

    /// The process of a worker that was lost has ended.
    pub(super) fn has_died(&self) {
        if let Some(lost) = &mut self.lock().lost {
            lost.dead = true;
        }
    }

    pub(super) fn worker(&self) -> u32 {
        self.lock().worker
    }

    /// The error, once the worker is lost.
    pub(super) fn error(&self) -> Option<Error> {
        let state = self.lock();
        let Lost { reason, dead, held, owed, settled: Settled { torn, value: signalled } } = state.lost.clone()?;
        let exchange = self.exchange.clone();
        Some(Error::PeerLost {
            exchange,
            worker: state.worker,
            reason,
            dead,
            frame: state.whole,
            held,
            owed,
            torn,
            signalled,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(reason: &str) -> Lost {
        Lost { reason: reason.to_owned(), held: 2, ..Lost::default() }
    }

    #[test]
    fn the_first_word_stands_until_another_worker_comes() {
        let status = Status::new("cells");
        status.connected(7);
        status.published(3);
        assert!(status.error().is_none());
        status.lost(lost("has ended"));
        status.lost(lost("has closed the connection"));
        // A frame that it had finished before.
        status.published(4);
        let told = status.error().unwrap().to_string();
        assert!(told.contains("worker process 7 has ended") && told.contains("last whole frame: 4"), "{told}");
        status.connected(8);
        assert!(status.error().is_none());
    }
}
