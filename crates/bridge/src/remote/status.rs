//! The state of the worker at the other end.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use super::part::Settled;
use crate::error::Error;
use crate::observe::trace::{self, Event};

/// The state of the worker at the other end of an exchange, for the thread that draws.
pub(super) struct Status {
    exchange: String,
    state: Mutex<State>,
    /// Told when the worker is lost.
    on_loss: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// For tests of a worker that its driver keeps from ending: nobody is killed.
    #[cfg(test)]
    pub(super) spares: std::sync::atomic::AtomicBool,
    /// For tests of a worker that overruns its limit: it has, whatever that is.
    #[cfg(test)]
    pub(super) limit_is_over: std::sync::atomic::AtomicBool,
    /// For tests of a system that starts no thread.
    #[cfg(test)]
    pub(super) starts_no_thread: std::sync::atomic::AtomicBool,
}

#[derive(Default)]
struct State {
    worker: u32,
    /// The number of its last frame that was published, or of the last that it was shown.
    whole: Option<u64>,
    lost: Option<Lost>,
    /// The program was told what was signaled in its place.
    told: bool,
    /// Why it was killed once it was lost, or was no more wanted.
    killed: Option<String>,
    /// Frames that it owes after its loss, and that something waits for: in step, by the exchange's
    /// numbers.
    owed: Box<[u64]>,
    /// What was signaled in the place of workers before, of which the program was not told.
    untold: VecDeque<(u32, Settled)>,
}

/// The way in which a worker was lost.
#[derive(Debug, Clone, Default)]
pub(super) struct Lost {
    pub(super) reason: String,
    pub(super) dead: bool,
    pub(super) held: usize,
    pub(super) owed: u64,
    /// What was signaled in its place.
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

    /// Another worker has come.
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

    /// The first word stands. The end of its process is traced here, and by
    /// [`has_died`](Self::has_died) where that comes later.
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
        // The lock is not held.
        if let Some(told) = self.on_loss.get() {
            told();
        }
    }

    /// Something was signaled in the place of a worker that was lost.
    pub(super) fn settled(&self, settled: Settled) {
        if let Some(lost) = &mut self.lock().lost
            && settled.value.is_some()
        {
            lost.settled = settled;
        }
    }

    /// It was killed, for what it owed.
    pub(super) fn killed(&self, reason: &str) {
        self.lock().killed = Some(reason.to_owned());
    }

    /// The worker is lost, and owes these frames still, if any.
    pub(super) fn owes(&self, frames: Box<[u64]>) {
        self.lock().owed = frames;
    }

    /// The frames that a worker which is lost owes.
    pub(super) fn owed(&self) -> Box<[u64]> {
        self.lock().owed.clone()
    }

    /// Has `told` called when a worker is lost.
    pub(super) fn on_loss(&self, told: impl Fn() + Send + Sync + 'static) {
        let _ = self.on_loss.set(Box::new(told));
    }

    /// The process of a worker that was lost has ended.
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

    /// The error for frames of an earlier worker that are torn, once.
    pub(super) fn tell_torn(&self) -> Option<Error> {
        let (worker, Settled { torn, value }) = self.lock().untold.pop_front()?;
        let signaled = value.unwrap_or(0);
        Some(Error::FramesTorn { exchange: self.exchange.clone(), worker, torn, signaled })
    }

    /// What the program is told: of an earlier worker, and of the loss of this one.
    pub(super) fn tell(&self) -> Option<Error> {
        if let Some(torn) = self.tell_torn() {
            return Some(torn);
        }
        let mut state = self.lock();
        state.told |= state.lost.as_ref().is_some_and(|lost| lost.settled.value.is_some());
        self.error_of(&state)
    }

    /// The error, once the worker is lost.
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
        assert!(told.contains("worker process 7 has ended") && told.contains("last complete frame: 4"), "{told}");
        status.connected(8);
        assert!(status.error().is_none());
    }

    /// What was signaled in a worker's place becomes known when it may have been replaced.
    #[test]
    fn frames_that_are_torn_are_told_once_also_behind_the_next_worker() {
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
        // A third one comes before the program asks.
        status.connected(8);
        status.lost(Lost { settled: torn(5), ..lost("has ended") });
        status.connected(9);
        assert_eq!([(); 3].map(|()| told(&status)), [Some((7, 3, 4)), Some((8, 5, 6)), None]);
        // One that was told of is not told again.
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
