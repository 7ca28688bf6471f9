//! The state of the worker of an exchange.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use super::part::Settled;
use crate::error::Error;
use crate::observe::worker_trace;

/// The state of the worker of an exchange, for the program.
pub(super) struct Status {
    exchange: String,
    state: Mutex<State>,
    /// Called when the worker is lost.
    on_loss: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// For tests of a worker whose driver delays its end: no worker is killed.
    #[cfg(test)]
    pub(super) spare_worker: std::sync::atomic::AtomicBool,
    /// For tests of a worker that overruns its limit: the limit counts as exceeded.
    #[cfg(test)]
    pub(super) force_overrun: std::sync::atomic::AtomicBool,
    /// For tests of a system on which no thread can be started.
    #[cfg(test)]
    pub(super) fail_thread_start: std::sync::atomic::AtomicBool,
}

#[derive(Default)]
struct State {
    worker: u32,
    /// The number of the last frame that the worker has published, or was sent.
    last_whole_frame: Option<u64>,
    lost: Option<Lost>,
    /// `true` if the program was notified of the signals that were made in the worker's place.
    is_reported: bool,
    /// The kill of the worker after it was lost or disconnected.
    kill: Option<Kill>,
    /// Frames that the worker owes after its loss and that something waits for, in step, by the
    /// exchange's numbers.
    owed: Box<[u64]>,
    /// Signals in the place of earlier workers, of which the program was not notified.
    unreported: VecDeque<(u32, Settled)>,
}

/// A kill of a worker for what it owed.
struct Kill {
    reason: String,
    /// The action taken, as text. A worker in this process is not killed.
    done: String,
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
            spare_worker: std::sync::atomic::AtomicBool::default(),
            #[cfg(test)]
            force_overrun: std::sync::atomic::AtomicBool::default(),
            #[cfg(test)]
            fail_thread_start: std::sync::atomic::AtomicBool::default(),
        }
    }

    pub(super) fn exchange(&self) -> &str {
        &self.exchange
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the state by that of a newly connected worker.
    pub(super) fn set_connected(&self, worker: u32) {
        let mut state = self.lock();
        let last = std::mem::take(&mut *state);
        let mut unreported = last.unreported;
        let settled = last.lost.filter(|_| !last.is_reported).map(|lost| lost.settled);
        unreported.extend(settled.filter(|settled| !settled.torn.is_empty()).map(|settled| (last.worker, settled)));
        *state = State { worker, unreported, ..State::default() };
    }

    pub(super) fn record_published(&self, frame: u64) {
        self.lock().last_whole_frame = Some(frame);
    }

    /// Returns the number of the last frame that the worker has published, or was sent.
    #[cfg(test)]
    pub(super) fn last_whole_frame(&self) -> Option<u64> {
        self.lock().last_whole_frame
    }

    /// Records the loss of the worker; the first call counts. Traces the end of its process, which
    /// [`record_death`](Self::record_death) does if the process ends later.
    pub(super) fn record_loss(&self, lost: Lost) {
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
    pub(super) fn record_settled(&self, settled: Settled) {
        if let Some(lost) = &mut self.lock().lost
            && settled.value.is_some()
        {
            lost.settled = settled;
        }
    }

    /// Records why the worker was killed for what it owed, and what was done.
    pub(super) fn record_kill(&self, reason: String, done: String) {
        self.lock().kill = Some(Kill { reason, done });
    }

    /// Records the frames that a lost worker still owes, if any.
    pub(super) fn set_owed(&self, frames: Box<[u64]>) {
        self.lock().owed = frames;
    }

    /// Returns the frames that a lost worker still owes.
    pub(super) fn owed(&self) -> Box<[u64]> {
        self.lock().owed.clone()
    }

    /// Sets a function that is called when a worker is lost.
    pub(super) fn set_on_loss(&self, on_loss: impl Fn() + Send + Sync + 'static) {
        let _ = self.on_loss.set(Box::new(on_loss));
    }

    /// Records that the process of a lost worker has ended.
    pub(super) fn record_death(&self) {
        let was_dead = match &mut self.lock().lost {
            Some(lost) => std::mem::replace(&mut lost.dead, true),
            None => true,
        };
        if !was_dead {
            self.trace_death();
        }
    }

    fn trace_death(&self) {
        worker_trace::lost(&self.exchange, self.worker());
    }

    pub(super) fn worker(&self) -> u32 {
        self.lock().worker
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lock().lost.is_some()
    }

    /// Returns the error for torn frames of an earlier worker, once.
    pub(super) fn take_torn_error(&self) -> Option<Error> {
        let (worker, Settled { torn, value }) = self.lock().unreported.pop_front()?;
        let signaled = value.unwrap_or(0);
        Some(Error::FramesTorn { exchange: self.exchange.clone(), worker, torn, signaled })
    }

    /// Returns the error to report to the program: for an earlier worker, or for the loss of this
    /// one.
    pub(super) fn take_error(&self) -> Option<Error> {
        if let Some(torn) = self.take_torn_error() {
            return Some(torn);
        }
        let mut state = self.lock();
        state.is_reported |= state.lost.as_ref().is_some_and(|lost| lost.settled.value.is_some());
        self.loss_error_of(&state)
    }

    /// Returns the error of the worker's loss, if it is lost.
    pub(super) fn loss_error(&self) -> Option<Error> {
        self.loss_error_of(&self.lock())
    }

    fn loss_error_of(&self, state: &State) -> Option<Error> {
        let Lost { mut reason, dead, held, owed, settled: Settled { torn, value: signaled } } = state.lost.clone()?;
        match &state.kill {
            // The worker was lost for the same reason.
            Some(kill) if reason.contains(&kill.reason) => reason = format!("{reason}, and {}", kill.done),
            Some(kill) => reason = format!("{reason}, {}, and {}", kill.reason, kill.done),
            None => {}
        }
        Some(Error::PeerLost {
            exchange: self.exchange.clone(),
            worker: state.worker,
            reason,
            dead,
            frame: state.last_whole_frame,
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
        status.set_connected(7);
        status.record_published(3);
        assert!(status.loss_error().is_none());
        status.record_loss(lost("has ended"));
        status.record_loss(lost("has closed the connection"));
        // A frame that the worker had finished before.
        status.record_published(4);
        let told = status.loss_error().unwrap().to_string();
        assert!(told.contains("worker process 7 has ended") && told.contains("last complete frame: 4"), "{told}");
        status.set_connected(8);
        assert!(status.loss_error().is_none());
    }

    /// A worker may be killed for the reason for which it was lost.
    #[test]
    fn reason_of_a_kill_is_reported_once() {
        let status = Status::new("cells");
        status.set_connected(7);
        status.record_loss(lost("is wrong"));
        for (reason, expected) in
            [("is wrong", "7 is wrong, and was killed;"), ("is late", "7 is wrong, is late, and was killed;")]
        {
            status.record_kill(reason.to_owned(), "was killed".to_owned());
            let told = status.loss_error().unwrap().to_string();
            assert!(told.contains(expected), "{told}");
        }
    }

    /// Signals in a worker's place may become known only after the worker was replaced.
    #[test]
    fn torn_frames_are_reported_once_even_after_the_next_worker() {
        let status = Status::new("cells");
        let torn = |frame| Settled { torn: [frame].into(), value: Some(frame + 1) };
        let told = |status: &Status| match status.take_error()? {
            Error::FramesTorn { worker, torn, signaled, .. } => Some((worker, torn[0], signaled)),
            Error::PeerLost { .. } => None,
            other => panic!("{other}"),
        };
        status.set_connected(7);
        status.record_loss(lost("has closed the connection"));
        assert!(matches!(status.take_error(), Some(Error::PeerLost { signaled: None, .. })));
        status.record_settled(torn(3));
        assert!(status.is_lost());
        // A third worker connects before the program asks.
        status.set_connected(8);
        status.record_loss(Lost { settled: torn(5), ..lost("has ended") });
        status.set_connected(9);
        assert_eq!([(); 3].map(|()| told(&status)), [Some((7, 3, 4)), Some((8, 5, 6)), None]);
        // Torn frames that were reported are not reported again.
        status.record_loss(Lost { settled: torn(6), ..lost("has ended") });
        assert!(matches!(status.take_error(), Some(Error::PeerLost { signaled: Some(7), .. })));
        status.set_connected(10);
        assert!(status.take_error().is_none());
        // Nothing was signaled.
        status.record_loss(lost("has ended"));
        status.set_connected(11);
        assert!(status.take_error().is_none());
    }
}
