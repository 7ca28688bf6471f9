//! The state of the worker of an exchange.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

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
    pub(super) spare_worker: AtomicBool,
    /// For tests of a worker that overruns its limit: the limit counts as exceeded.
    #[cfg(test)]
    pub(super) force_overrun: AtomicBool,
    /// For tests of a system on which no thread can be started.
    #[cfg(test)]
    pub(super) fail_thread_start: AtomicBool,
    /// For tests of a thread that reports a death late: the next report waits until the sender is
    /// dropped.
    #[cfg(test)]
    pub(super) death_gate: Mutex<Option<std::sync::mpsc::Receiver<()>>>,
}

/// The status of one worker, to which the thread of its connection reports. The thread may outlast
/// the worker: what it reports once another worker has connected is not attributed to that one.
pub(super) struct WorkerStatus {
    status: Arc<Status>,
    worker: u32,
    /// As in [`State`], while this worker is the last one.
    generation: u64,
    /// `true` once the end of the process was traced.
    is_dead: AtomicBool,
}

#[derive(Default)]
struct State {
    worker: u32,
    /// The number of workers that have connected. A process may connect again, so its id does not
    /// identify a worker.
    generation: u64,
    /// The number of the last frame that the worker has published, or was sent.
    last_whole_frame: Option<u64>,
    lost: Option<Lost>,
    /// `true` if the program was notified of the signals that were made in the worker's place.
    is_reported: bool,
    /// The kill of the worker after it was lost or disconnected.
    kill: Option<Kill>,
    /// Set by the thread that holds the workers' handle, also for a worker that was replaced.
    owed: Owed,
    /// Signals in the place of earlier workers, of which the program was not notified.
    unreported: VecDeque<(u32, Settled)>,
}

/// Frames that a worker owes after its loss and that something waits for, in step, by the
/// exchange's numbers.
#[derive(Debug, Clone, Default)]
struct Owed {
    worker: u32,
    frames: Box<[u64]>,
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
            spare_worker: AtomicBool::default(),
            #[cfg(test)]
            force_overrun: AtomicBool::default(),
            #[cfg(test)]
            fail_thread_start: AtomicBool::default(),
            #[cfg(test)]
            death_gate: Mutex::default(),
        }
    }

    pub(super) fn exchange(&self) -> &str {
        &self.exchange
    }

    #[cfg(test)]
    fn pass_death_gate(&self) {
        let gate = self.death_gate.lock().unwrap().take();
        if let Some(gate) = gate {
            crate::observe::steps::note("report a death", std::ptr::from_ref(self));
            let _ = gate.recv();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the state by that of a newly connected worker. Returns its status, to which the
    /// thread of its connection reports.
    pub(super) fn connect_worker(self: &Arc<Self>, worker: u32) -> Arc<WorkerStatus> {
        let mut state = self.lock();
        let last = std::mem::take(&mut *state);
        let (mut unreported, generation) = (last.unreported, last.generation + 1);
        let settled = last.lost.filter(|_| !last.is_reported).map(|lost| lost.settled);
        unreported.extend(settled.filter(|settled| !settled.torn.is_empty()).map(|settled| (last.worker, settled)));
        *state = State { worker, generation, unreported, owed: last.owed, ..State::default() };
        Arc::new(WorkerStatus { status: Arc::clone(self), worker, generation, is_dead: AtomicBool::new(false) })
    }

    /// Returns the number of the last frame that the worker has published, or was sent.
    #[cfg(test)]
    pub(super) fn last_whole_frame(&self) -> Option<u64> {
        self.lock().last_whole_frame
    }

    /// Returns the frames that a lost worker still owes.
    pub(super) fn owed(&self) -> Box<[u64]> {
        self.lock().owed.frames.clone()
    }

    /// Returns the error for frames that a lost worker still owes, if any.
    pub(super) fn owed_error(&self, limit: Duration) -> Option<Error> {
        let Owed { worker, frames } = self.lock().owed.clone();
        (!frames.is_empty()).then(|| Error::FramesOwed { exchange: self.exchange.clone(), worker, frames, limit })
    }

    /// Sets a function that is called when a worker is lost.
    pub(super) fn set_on_loss(&self, on_loss: impl Fn() + Send + Sync + 'static) {
        let _ = self.on_loss.set(Box::new(on_loss));
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
    #[cfg(test)]
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

impl WorkerStatus {
    pub(super) fn exchange(&self) -> &str {
        &self.status.exchange
    }

    /// Returns the process of this worker.
    pub(super) fn worker(&self) -> u32 {
        self.worker
    }

    /// Returns the status of the exchange, which is that of its current worker.
    #[cfg(test)]
    pub(super) fn status(&self) -> &Status {
        &self.status
    }

    /// Returns the state, if it is that of this worker, and `Err` if it is that of a later one.
    fn lock(&self) -> Result<MutexGuard<'_, State>, MutexGuard<'_, State>> {
        let state = self.status.lock();
        if state.generation == self.generation { Ok(state) } else { Err(state) }
    }

    pub(super) fn record_published(&self, frame: u64) {
        if let Ok(mut state) = self.lock() {
            state.last_whole_frame = Some(frame);
        }
    }

    /// Records the loss of the worker; the first call counts. Traces the end of its process, which
    /// [`record_death`](Self::record_death) does if the process ends later.
    pub(super) fn record_loss(&self, lost: Lost) {
        let dead = lost.dead;
        let is_first = match self.lock() {
            Ok(mut state) => {
                let is_first = state.lost.is_none();
                state.lost.get_or_insert(lost);
                is_first
            }
            // Another worker was connected, so the program knows of the loss.
            Err(_) => return,
        };
        if dead && is_first {
            self.trace_death();
        }
        // Called without holding the lock.
        if let Some(told) = self.status.on_loss.get() {
            told();
        }
    }

    /// Records the signals that were made in the place of the worker, which is lost.
    pub(super) fn record_settled(&self, settled: Settled) {
        if settled.value.is_none() {
            return;
        }
        match self.lock() {
            Ok(mut state) => {
                if let Some(lost) = &mut state.lost {
                    lost.settled = settled;
                }
            }
            Err(mut state) if !settled.torn.is_empty() => state.unreported.push_back((self.worker, settled)),
            Err(_) => {}
        }
    }

    /// Records why the worker was killed for what it owed, and what was done.
    pub(super) fn record_kill(&self, reason: String, done: String) {
        if let Ok(mut state) = self.lock() {
            state.kill = Some(Kill { reason, done });
        }
    }

    /// Records the frames that the worker, which is lost, still owes, if any: also if the next one
    /// has connected, whose thread waits until this one has returned the handle.
    pub(super) fn set_owed(&self, frames: Box<[u64]>) {
        let (Ok(mut state) | Err(mut state)) = self.lock();
        state.owed = Owed { worker: self.worker, frames };
    }

    /// Records that the process of the worker, which is lost, has ended.
    pub(super) fn record_death(&self) {
        #[cfg(test)]
        self.status.pass_death_gate();
        let was_dead = match self.lock() {
            Ok(mut state) => state.lost.as_mut().is_none_or(|lost| std::mem::replace(&mut lost.dead, true)),
            Err(_) => false,
        };
        if !was_dead {
            self.trace_death();
        }
    }

    /// Traces the end of the worker's process, once.
    fn trace_death(&self) {
        if !self.is_dead.swap(true, Ordering::Relaxed) {
            worker_trace::lost(self.exchange(), self.worker);
        }
    }

    /// Returns the error of the worker's loss, if it is lost and not replaced.
    pub(super) fn loss_error(&self) -> Option<Error> {
        self.lock().ok().and_then(|state| self.status.loss_error_of(&state))
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
