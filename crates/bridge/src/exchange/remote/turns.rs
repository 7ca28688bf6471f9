//! The program's half of an in-step exchange whose writer is another process, which hands out the
//! turns of announced frames.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::exchange::remote::program_half::ProgramHalf;
use crate::exchange::state::State;
use crate::exchange::turn::render::RenderTurn;
use crate::resources::Resources;
use crate::timeline::wait::SPIN;

/// The program's half of an in-step exchange whose writer is another process.
pub(crate) struct RemoteTurns<R: Resources> {
    /// Turns of announced frames that the program has not taken. Not locked while a turn ends.
    turns: Mutex<VecDeque<RenderTurn<R>>>,
    changed: Condvar,
    state: Mutex<Arc<State<R>>>,
}

impl<R: Resources> RemoteTurns<R> {
    pub(in crate::exchange) fn new(state: &Arc<State<R>>) -> Arc<Self> {
        let (turns, changed) = (Mutex::default(), Condvar::new());
        Arc::new(Self { turns, changed, state: Mutex::new(Arc::clone(state)) })
    }

    /// Adds the turn of an announced frame.
    pub(in crate::exchange) fn push(&self, turn: RenderTurn<R>) {
        self.turns().push_back(turn);
        self.changed.notify_all();
    }

    /// Skips the turns of torn frames that the program has not taken.
    pub(in crate::exchange) fn withdraw(&self, torn: impl Fn(u64) -> bool) {
        let withdrawn = {
            let mut turns = self.turns();
            let (withdrawn, kept): (VecDeque<_>, _) = turns.drain(..).partition(|turn| torn(turn.frame()));
            *turns = kept;
            withdrawn
        };
        // Skipping ends the turns, so the lock must not be held.
        withdrawn.into_iter().for_each(RenderTurn::skip);
    }

    /// Uses the state of the next process, whose slots have new timelines.
    pub(in crate::exchange) fn set_state(&self, state: &Arc<State<R>>) {
        // If this is the last reference, dropping it calls the program's trace sink, so the lock
        // must not be held.
        let last = std::mem::replace(&mut *self.lock_state(), Arc::clone(state));
        drop(last);
    }

    fn turns(&self) -> MutexGuard<'_, VecDeque<RenderTurn<R>>> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_state(&self) -> MutexGuard<'_, Arc<State<R>>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the turn of the oldest announced frame. Waits for one, for at most `timeout`, unless
    /// `over` returns `true` because no more frames will be announced.
    pub(crate) fn take(&self, timeout: Duration, over: impl Fn() -> bool) -> Option<RenderTurn<R>> {
        self.state().free_finished();
        let none = |turns: &mut VecDeque<_>| turns.is_empty() && !over();
        // Spins like the thread of the connection: waking this thread takes longer than a frame.
        let start = Instant::now();
        while none(&mut self.turns()) && start.elapsed() < timeout.min(SPIN) {
            std::thread::yield_now();
        }
        let timeout = timeout.saturating_sub(start.elapsed());
        let waited = self.changed.wait_timeout_while(self.turns(), timeout, none);
        let (mut turns, _) = waited.unwrap_or_else(PoisonError::into_inner);
        turns.pop_front()
    }

    /// Returns `true` if the program has taken all announced frames.
    pub(crate) fn is_empty(&self) -> bool {
        self.turns().is_empty()
    }

    /// Blocks while the maximum number of frames is in flight, for at most `timeout`. Returns
    /// `false` if it still is.
    ///
    /// # Errors
    /// [`Error::Timeout`] if the exchange's own limit has passed.
    pub(crate) fn keep_pace(&self, timeout: Duration) -> Result<bool> {
        let state = self.state();
        match state.keep_pace_within(timeout.min(state.timeout)) {
            Err(Error::Timeout { .. }) if timeout < state.timeout => Ok(false),
            kept => kept.map(|()| true),
        }
    }

    /// Returns the error of a turn that was dropped since the last call, if any.
    pub(crate) fn check_dropped(&self) -> Result<()> {
        let state = self.state();
        let dropped = state.ledger().take_dropped();
        dropped.map_or(Ok(()), |refusal| Err(state.refusal_error(refusal)))
    }
}

impl<R: Resources> ProgramHalf<R> for RemoteTurns<R> {
    fn state(&self) -> Arc<State<R>> {
        Arc::clone(&self.lock_state())
    }

    /// Wakes a thread in [`take`](Self::take), which then calls `over` again.
    fn wake(&self) {
        // Under the lock, so that no thread is between its check and its wait.
        let _turns = self.turns();
        self.changed.notify_all();
    }

    fn discard(&self) {
        let turns = std::mem::take(&mut *self.turns());
        turns.into_iter().for_each(RenderTurn::skip);
    }
}
