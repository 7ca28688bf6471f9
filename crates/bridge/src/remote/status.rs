//! The state of the worker of an exchange.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use super::part::Settled;
use crate::error::Error;
use crate::observe::trace::{self, Event};

/// The state of the worker of an exchange, for the program.
pub(super) struct Status {
    exchange: String,
    state: Mutex<State>,
    /// Called when the worker is lost.
    on_loss: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// For tests of a worker whose driver delays its end: no worker is killed.
    #[cfg(test)]
    pub(super) spares: std::sync::atomic::AtomicBool,
    /// For tests of a worker that overruns its limit: the limit counts as exceeded.
    #[cfg(test)]
    pub(super) limit_is_over: std::sync::atomic::AtomicBool,
    /// For tests of a system on which no thread can be started.
    #[cfg(test)]
    pub(super) starts_no_thread: std::sync::atomic::AtomicBool,
}

#[derive(Default)]
struct State {
    worker: u32,
    /// The number of the last frame that the worker has published, or was shown.
    whole: Option<u64>,
    lost: Option<Lost>,
    /// Whether the program was notified of the signals that were made in the worker's place.
    told: bool,
    /// Reason why the worker was killed after it was lost or disconnected.
    killed: Option<String>,
    /// Frames that the worker owes after its loss and that something waits for, in step, by the
    /// exchange's numbers.
    owed: Box<[u64]>,
    /// Signals in the place of earlier workers, of which the program was not notified.
    untold: VecDeque<(u32, Settled)>,
}

/// How a worker was lost.
#[derive(Debug, Clone, Default)]
pub(super) struct Lost {
    pub(super) reason: String,
    pub(super) dead: bool,
    pub(super) held: usize,
    pub(super) owed: u64,
    /// The signals that were made in its place.
    pub(super) settled: Settled,
}

impl Status {
    pub(super) fn new(exchange: &str) -> Self {
        Self {
            exchange: exchange.to_owned(),
            state: Mutex::default(),
            on_loss: OnceLock::new(),
            #[cfg(test)]
            spares: std::sync::atomic::AtomicBool::default(),
            #[cfg(test)]
            limit_is_over: std::sync::atomic::AtomicBool::default(),
            #[cfg(test)]
            starts_no_thread: std::sync::atomic::AtomicBool::default(),
        }
    }

    pub(super) fn exchange(&self) -> &str {
        &self.exchange
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the state by that of a newly connected worker.
    pub(super) fn connected(&self, worker: u32) {
        let mut state = self.lock();
        let last = std::mem::take(&mut *state);
        let mut untold = last.untold;
        let settled = last.lost.filter(|_| !last.told).map(|lost| lost.settled);
        untold.extend(settled.filter(|settled| !settled.torn.is_empty()).map(|settled| (last.worker, settled)));
        *state = State { worker, untold, ..State::default() };
    }

    pub(super) fn published(&self, frame: u64) {
        self.lock().whole = Some(frame);
    }

    /// Records the loss of the worker; the first call counts. Traces the end of its process, which
    /// [`has_died`](Self::has_died) does if the process ends later.
    pub(super) fn lost(&self, lost: Lost) {
        let dead = lost.dead;
        let is_first = {
            let mut state = self.lock();
            let is_first = state.lost.is_none();
            state.lost.get_or_insert(lost);
            is_first
        };
        if dead && is_first {
            self.trace_death();
        }
        // Called without holding the lock.
        if let Some(told) = self.on_loss.get() {
            told();
        }
    }

    /// Records the signals that were made in the place of a lost worker.
    pub(super) fn settled(&self, settled: Settled) {
        if let Some(lost) = &mut self.lock().lost
            && settled.value.is_some()
        {
            lost.settled = settled;
        }
    }

    /// Records why the worker was killed for what it owed.
    pub(super) fn killed(&self, reason: &str) {
        self.lock().killed = Some(reason.to_owned());
    }

    /// Records the frames that a lost worker still owes, if any.
    pub(super) fn owes(&self, frames: Box<[u64]>) {
        self.lock().owed = frames;
    }

    /// Returns the frames that a lost worker still owes.
    pub(super) fn owed(&self) -> Box<[u64]> {
        self.lock().owed.clone()
    }

    /// Sets a function that is called when a worker is lost.
    pub(super) fn on_loss(&self, told: impl Fn() + Send + Sync + 'static) {
        let _ = self.on_loss.set(Box::new(told));
    }

    /// Records that the process of a lost worker has ended.
    pub(super) fn has_died(&self) {
        let was_dead = match &mut self.lock().lost {
            Some(lost) => std::mem::replace(&mut lost.dead, true),
            None => true,
        };
        if !was_dead {
            self.trace_death();
        }
    }

    fn trace_death(&self) {
        trace::event(Event::new("lost", "host", &self.exchange).peer(self.worker()));
    }

    pub(super) fn worker(&self) -> u32 {
        self.lock().worker
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lock().lost.is_some()
    }

    /// Returns the error for torn frames of an earlier worker, once.
    pub(super) fn tell_torn(&self) -> Option<Error> {
        let (worker, Settled { torn, value }) = self.lock().untold.pop_front()?;
        let signaled = value.unwrap_or(0);
        Some(Error::FramesTorn { exchange: self.exchange.clone(), worker, torn, signaled })
    }

    /// Returns the error to report to the program: for an earlier worker, or for the loss of this
    /// one.
    pub(super) fn tell(&self) -> Option<Error> {
        if let Some(torn) = self.tell_torn() {
            return Some(torn);
        }
        let mut state = self.lock();
        state.told |= state.lost.as_ref().is_some_and(|lost| lost.settled.value.is_some());
        self.error_of(&state)
    }

    /// Returns the error of the worker's loss, if it is lost.
    pub(super) fn error(&self) -> Option<Error> {
        self.error_of(&self.lock())
    }

    fn error_of(&self, state: &State) -> Option<Error> {
        let Lost { mut reason, dead, held, owed, settled: Settled { torn, value: signaled } } = state.lost.clone()?;
        state.killed.iter().for_each(|killed| reason = format!("{reason}, {killed}"));
        Some(Error::PeerLost {
            exchange: self.exchange.clone(),
            worker: state.worker,
            reason,
            dead,
            frame: state.whole,
            held,
            owed,
            torn,
            signaled,
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
    fn first_reported_loss_stands_until_the_next_worker() {
        let status = Status::new("cells");
        status.connected(7);
        status.published(3);
        assert!(status.error().is_none());
        status.lost(lost("has ended"));
        status.lost(lost("has closed the connection"));
        // A frame that the worker had finished before.
        status.published(4);
        let told = status.error().unwrap().to_string();
        assert!(told.contains("worker process 7 has ended") && told.contains("last complete frame: 4"), "{told}");
        status.connected(8);
        assert!(status.error().is_none());
    }

    /// Signals in a worker's place may become known only after the worker was replaced.
    #[test]
    fn torn_frames_are_reported_once_even_after_the_next_worker() {
        let status = Status::new("cells");
        let torn = |frame| Settled { torn: [frame].into(), value: Some(frame + 1) };
        let told = |status: &Status| match status.tell()? {
            Error::FramesTorn { worker, torn, signaled, .. } => Some((worker, torn[0], signaled)),
            Error::PeerLost { .. } => None,
            other => panic!("{other}"),
        };
        status.connected(7);
        status.lost(lost("has closed the connection"));
        assert!(matches!(status.tell(), Some(Error::PeerLost { signaled: None, .. })));
        status.settled(torn(3));
        assert!(status.is_lost());
        // A third worker connects before the program asks.
        status.connected(8);
        status.lost(Lost { settled: torn(5), ..lost("has ended") });
        status.connected(9);
        assert_eq!([(); 3].map(|()| told(&status)), [Some((7, 3, 4)), Some((8, 5, 6)), None]);
        // Torn frames that were reported are not reported again.
        status.lost(Lost { settled: torn(6), ..lost("has ended") });
        assert!(matches!(status.tell(), Some(Error::PeerLost { signaled: Some(7), .. })));
        status.connected(10);
        assert!(status.tell().is_none());
        // Nothing was signaled.
        status.lost(lost("has ended"));
        status.connected(11);
        assert!(status.tell().is_none());
    }
}
