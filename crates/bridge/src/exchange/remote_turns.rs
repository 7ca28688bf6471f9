//! The program's half of an in-step exchange whose writer is another process: it gives out turns of
//! announced frames.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use vk_export::Queue;

use super::hand_over::Initial;
use super::render_turn::RenderTurn;
use super::resources::Resources;
use super::slots::queue_of;
use super::state::State;
use crate::compute::Compute;
use crate::error::{Error, Result};
use crate::timeline::wait::SPIN;

/// The program's half of an in-step exchange whose writer is another process.
pub(crate) struct RemoteTurns<R: Resources> {
    /// The frames that were announced and that it has not taken. Never held while a turn ends.
    turns: Mutex<VecDeque<RenderTurn<R>>>,
    changed: Condvar,
    state: Mutex<Arc<State<R>>>,
}

impl<R: Resources> RemoteTurns<R> {
    pub(super) fn new(state: &Arc<State<R>>) -> Arc<Self> {
        let (turns, changed) = (Mutex::default(), Condvar::new());
        Arc::new(Self { turns, changed, state: Mutex::new(Arc::clone(state)) })
    }

    /// A frame was announced.
    pub(super) fn announced(&self, turn: RenderTurn<R>) {
        self.turns().push_back(turn);
        self.changed.notify_all();
    }

    /// Takes the turns of these frames away from the program, where it has not taken them.
    pub(super) fn withdraw(&self, torn: impl Fn(u64) -> bool) {
        let withdrawn = {
            let mut turns = self.turns();
            let (withdrawn, kept): (VecDeque<_>, _) = turns.drain(..).partition(|turn| torn(turn.frame()));
            *turns = kept;
            withdrawn
        };
        // Ends turns: the lock is not held.
        withdrawn.into_iter().for_each(RenderTurn::skip);
    }

    /// The slots have new timelines.
    pub(super) fn renewed(&self, state: &Arc<State<R>>) {
        // The last ends here, if nobody else has it, which calls the program's sink: behind the
        // lock.
        let last = std::mem::replace(&mut *self.lock_state(), Arc::clone(state));
        drop(last);
    }

    fn turns(&self) -> MutexGuard<'_, VecDeque<RenderTurn<R>>> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_state(&self) -> MutexGuard<'_, Arc<State<R>>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn state(&self) -> Arc<State<R>> {
        Arc::clone(&self.lock_state())
    }

    /// The turn of the frame that was announced first. Waits for one, for at most `timeout`, unless
    /// `over` says that none comes.
    pub(crate) fn take(&self, timeout: Duration, over: impl Fn() -> bool) -> Option<RenderTurn<R>> {
        self.state().free_finished();
        let none = |turns: &mut VecDeque<_>| turns.is_empty() && !over();
        // As the thread of the connection does: to wake this one takes longer than a frame.
        let start = Instant::now();
        while none(&mut self.turns()) && start.elapsed() < timeout.min(SPIN) {
            std::thread::yield_now();
        }
        let timeout = timeout.saturating_sub(start.elapsed());
        let waited = self.changed.wait_timeout_while(self.turns(), timeout, none);
        let (mut turns, _) = waited.unwrap_or_else(PoisonError::into_inner);
        turns.pop_front()
    }

    /// Returns `true` if the program has taken all frames that were announced.
    pub(crate) fn is_empty(&self) -> bool {
        self.turns().is_empty()
    }

    /// As [`Exchange::begin`](super::Exchange::begin) asks, of the thread that copies.
    pub(crate) fn check_compute(&self) -> Result<()> {
        self.state().check_compute()
    }

    /// Has [`take`](Self::take) ask again whether any comes.
    pub(crate) fn wake(&self) {
        // Under the lock, so that nobody is between asking and sleeping.
        let _turns = self.turns();
        self.changed.notify_all();
    }

    /// Blocks while as many frames are unfinished as may be, for at most `timeout`; returns `false`
    /// if they still are.
    ///
    /// # Errors
    /// [`Error::Timeout`] where that is the exchange's own limit.
    pub(crate) fn keep_pace(&self, timeout: Duration) -> Result<bool> {
        let state = self.state();
        match state.keep_pace_within(timeout.min(state.timeout)) {
            Err(Error::Timeout { .. }) if timeout < state.timeout => Ok(false),
            kept => kept.map(|()| true),
        }
    }

    /// The queue that turns are submitted to.
    pub(crate) fn queue<'a>(&self, compute: &'a Compute) -> &'a Queue {
        queue_of(compute, self.state().queue)
    }

    /// Returns `true` if new images were not handed over so far.
    pub(crate) fn needs_initial(&self) -> bool {
        self.state().ledger().initial() != Initial::Done
    }

    /// Waits for the end of all work, up to the limit. The thread on behalf of the other process
    /// has ended.
    ///
    /// # Errors
    /// As [`Exchange::close`](super::Exchange::close).
    pub(crate) fn close(&self) -> Result<()> {
        self.skip_all();
        self.state().close_away()
    }

    /// Gives back the slots of all turns that the program has not taken.
    pub(crate) fn skip_all(&self) {
        let turns = std::mem::take(&mut *self.turns());
        turns.into_iter().for_each(RenderTurn::skip);
    }

    /// The error of a turn that was dropped, once.
    pub(crate) fn check_dropped(&self) -> Result<()> {
        let state = self.state();
        let dropped = state.ledger().take_dropped();
        dropped.map_or(Ok(()), |refusal| Err(state.refused(refusal)))
    }
}
