//! This process's half of a worker's side of an exchange, between one worker and the next.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bridge_ipc::Connection;

use super::control::{Awaited, Control};
use super::part::{End, recover};
use crate::error::{Error, Result};

/// Time for which the end of an earlier worker is waited for, before the program is asked whether
/// it still wants the next.
const AT_A_TIME: Duration = Duration::from_millis(10);

/// The handle of an exchange on behalf of its workers.
pub(super) struct Half<E: End> {
    pub(super) end: E,
    /// The connection with a worker that was lost, and whose process may still use the slots which
    /// it held.
    pub(super) before: Option<Connection>,
}

/// The workers' half of an exchange, while nobody listens to one.
pub(super) type Home<E> = Arc<Mutex<Option<Half<E>>>>;

/// Takes the workers' half, if nobody has it.
pub(super) fn take<E: End>(home: &Home<E>) -> Option<Half<E>> {
    home.lock().unwrap_or_else(PoisonError::into_inner).take()
}

impl<E: End> Half<E> {
    pub(super) fn new(end: E) -> Self {
        Self { end, before: None }
    }

    /// Waits until the worker before, if there was one, uses the slots no more: until its process
    /// has ended. What it may still use is not given to the `next`.
    ///
    /// # Errors
    /// Where that takes longer than `limit`, the `next` is gone before, or the program wants it no
    /// more.
    pub(super) fn await_quiet(&mut self, next: &Connection, control: &Control, limit: Duration) -> Result<()> {
        let Some(before) = &self.before else { return Ok(()) };
        let invalid = |reason| Err(Error::invalid(format!("exchange \"{}\"", self.end.exchange()), reason));
        let same = before.peer().pid() == next.peer().pid();
        let start = Instant::now();
        while !(before.peer().wait(AT_A_TIME) && before.wait_for_release(AT_A_TIME)) {
            Awaited { exchange: self.end.exchange(), control, worker: next }.go_on()?;
            if start.elapsed() >= limit {
                let pid = before.peer().pid();
                if before.peer().is_dead() {
                    return invalid(format!(
                        "worker process {pid} has ended, and a child that was forked from it has its descriptors still: its GPU work \
                         may go on in the slots; end the child, and let another worker connect then"
                    ));
                }
                let remedy = if same {
                    "it is the process that connects again: drop its `LatestWriter` or `LatestReader` before the renderer disconnects it"
                } else {
                    "end it, and let another worker connect then"
                };
                return invalid(format!(
                    "worker process {pid}, which was lost or disconnected and did not close the exchange, may still use its \
                     slots, and has not ended within {limit:?}; {remedy}"
                ));
            }
        }
        self.before = None;
        recover(&self.end);
        Ok(())
    }
}
