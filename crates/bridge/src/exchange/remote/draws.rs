//! The program's half of an in-step exchange whose reader is another process, which creates turns
//! for slots to render to.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::exchange::direction::{Protocol, RenderFirstRemote};
use crate::exchange::remote::program_half::ProgramHalf;
use crate::exchange::state::State;
use crate::exchange::turn::render::RenderTurn;
use crate::resources::Resources;
use crate::timeline::wait::SPIN;

/// Polling interval for slots that become free without a notification.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The program's half of an in-step exchange whose reader is another process.
pub(crate) struct RemoteDraws<R: Resources> {
    gate: Mutex<Gate<R>>,
    changed: Condvar,
}

struct Gate<R: Resources> {
    /// `true` while a process has taken the exchange.
    is_open: bool,
    state: Arc<State<R>>,
}

impl<R: Resources> RemoteDraws<R> {
    pub(in crate::exchange) fn new(state: &Arc<State<R>>) -> Arc<Self> {
        let gate = Mutex::new(Gate { is_open: false, state: Arc::clone(state) });
        Arc::new(Self { gate, changed: Condvar::new() })
    }

    /// Sets whether a process has taken the exchange: frames can begin only while one has.
    pub(crate) fn set_open(&self, is_open: bool) {
        self.gate().is_open = is_open;
        self.changed.notify_all();
    }

    /// Uses the state of the next process, whose slots have new timelines.
    pub(in crate::exchange) fn set_state(&self, state: &Arc<State<R>>) {
        // If this is the last reference, dropping it calls the program's trace sink, so the lock
        // must not be held.
        let last = std::mem::replace(&mut self.gate().state, Arc::clone(state));
        drop(last);
    }

    fn gate(&self) -> MutexGuard<'_, Gate<R>> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a frame. Waits for a slot, for at most `timeout`, unless `over` returns `true`
    /// because no slot will become free. Returns `None` if there is no slot.
    ///
    /// # Errors
    /// As [`Exchange::begin`](crate::exchange::Exchange::begin).
    pub(crate) fn begin(
        &self,
        timeout: Duration,
        over: impl Fn() -> bool,
    ) -> Result<Option<RenderTurn<R, RenderFirstRemote>>> {
        let start = Instant::now();
        self.state().free_finished();
        let mut gate = self.gate();
        while !over() {
            let state = Arc::clone(&gate.state);
            let reached = || state.objects.rendered.value().unwrap_or(0);
            let mut ledger = state.ledger();
            if gate.is_open && !ledger.would_block(reached) {
                let begun = ledger.begin(reached);
                drop(ledger);
                drop(gate);
                let begun = begun.map_err(|refusal| state.refusal_error(refusal))?;
                return RenderFirstRemote::begin_turn(&state, begun).map(Some);
            }
            let unseen = ledger.needs_polling();
            drop(ledger);
            let spent = start.elapsed();
            let left = timeout.saturating_sub(spent);
            if left.is_zero() {
                break;
            }
            if spent < SPIN {
                drop(gate);
                std::thread::yield_now();
                gate = self.gate();
                continue;
            }
            let limit = if unseen { left.min(POLL_INTERVAL) } else { left };
            gate = self.changed.wait_timeout(gate, limit).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(None)
    }

    /// Returns `true` if the other process has received every submitted frame.
    #[cfg(test)]
    pub(crate) fn is_all_sent(&self) -> bool {
        self.state().ledger().next_unsent().is_none()
    }
}

impl<R: Resources> ProgramHalf<R> for RemoteDraws<R> {
    fn state(&self) -> Arc<State<R>> {
        Arc::clone(&self.gate().state)
    }

    /// Wakes a thread in [`begin`](Self::begin), which then looks for a slot again.
    fn wake(&self) {
        // Under the lock, so that no thread is between its check and its wait.
        let _gate = self.gate();
        self.changed.notify_all();
    }
}
