//! The state of the worker at the other end.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::Error;

/// The state of the worker at the other end of an exchange, for the thread that draws.
pub(super) struct Status {
    exchange: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    worker: u32,
    /// The number of its last frame that was published, or of the last that it was shown.
    whole: Option<u64>,
    lost: Option<Lost>,
}

/// The way in which a worker was lost.
#[derive(Debug, Clone)]
pub(super) struct Lost {
    pub(super) reason: String,
    pub(super) dead: bool,
    pub(super) held: usize,
    pub(super) owed: u64,
}

impl Status {
    pub(super) fn new(exchange: &str) -> Self {
        Self { exchange: exchange.to_owned(), state: Mutex::default() }
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
        let Lost { reason, dead, held, owed } = state.lost.clone()?;
        let exchange = self.exchange.clone();
        Some(Error::PeerLost { exchange, worker: state.worker, reason, dead, frame: state.whole, held, owed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(reason: &str) -> Lost {
        Lost { reason: reason.to_owned(), dead: false, held: 2, owed: 0 }
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
