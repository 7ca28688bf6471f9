//! The program's half of an exchange in step with another process.

use std::sync::Arc;

use vk_export::Queue;

use crate::compute::Compute;
use crate::error::Result;
use crate::exchange::ledger::initial::InitialState;
use crate::exchange::slots::queue_of;
use crate::exchange::state::State;
use crate::resources::Resources;

/// The program's half of an exchange in step with another process, in either direction.
pub(crate) trait ProgramHalf<R: Resources>: Send + Sync + 'static {
    /// Returns the state for the current process. The next process gets new timelines.
    fn state(&self) -> Arc<State<R>>;

    /// Wakes the thread that waits for the other process, so that it checks again whether that
    /// process is lost.
    fn wake(&self);

    /// Skips all turns that the program has not taken, if it takes turns.
    fn discard(&self) {}

    /// Checks the thread that copies frames, as
    /// [`Exchange::begin`](crate::exchange::Exchange::begin) does.
    fn check_compute(&self) -> Result<()> {
        self.state().check_compute()
    }

    /// Returns the queue that turns are submitted to.
    fn queue<'a>(&self, compute: &'a Compute) -> &'a Queue {
        queue_of(compute, self.state().queue)
    }

    /// Returns `true` if new images have not been handed over yet.
    fn needs_initial(&self) -> bool {
        self.state().ledger().initial() != InitialState::Done
    }

    /// Waits, for at most the timeout, until all work has ended. The thread that acts for the other
    /// process has ended.
    ///
    /// # Errors
    /// As [`Exchange::close`](crate::exchange::Exchange::close).
    fn close(&self) -> Result<()> {
        self.discard();
        self.state().close_timelines()
    }
}
