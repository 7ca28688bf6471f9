//! The workers' handle of an exchange, which is kept between one worker and the next.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bridge_ipc::Connection;

use super::control::{Control, PendingWorker};
use super::part::{WorkerHandle, reclaim_slots};
use crate::error::{Error, Result};

/// Interval at which a wait for the end of an earlier worker checks that the program still wants
/// the next one.
const CHECK_INTERVAL: Duration = Duration::from_millis(10);

/// The handle of an exchange on behalf of its workers, and a lost worker that may use slots.
pub(super) struct StoredHandle<E: WorkerHandle> {
    pub(super) handle: E,
    /// The connection with a lost worker whose process may still use the slots that it held.
    pub(super) previous: Option<Connection>,
}

/// Storage of the workers' handle while no thread listens to a worker.
pub(super) type HandleStore<E> = Arc<Mutex<Option<StoredHandle<E>>>>;

/// Takes the workers' handle, if it is stored.
pub(super) fn take<E: WorkerHandle>(store: &HandleStore<E>) -> Option<StoredHandle<E>> {
    store.lock().unwrap_or_else(PoisonError::into_inner).take()
}

impl<E: WorkerHandle> StoredHandle<E> {
    pub(super) fn new(handle: E) -> Self {
        Self { handle, previous: None }
    }

    /// Waits until the previous worker, if any, no longer uses the slots, that is, until its
    /// process has ended. Only then can the slots be given to the `next` worker.
    ///
    /// # Errors
    /// If that takes longer than `limit`, if the `next` worker ends before, or if the program no
    /// longer wants it.
    pub(super) fn wait_for_previous(&mut self, next: &Connection, control: &Control, limit: Duration) -> Result<()> {
        let Some(before) = &self.previous else { return Ok(()) };
        let invalid = |reason| Err(Error::invalid(format!("exchange \"{}\"", self.handle.exchange()), reason));
        let same = before.peer().pid() == next.peer().pid();
        let start = Instant::now();
        while !(before.peer().wait(CHECK_INTERVAL) && before.wait_for_release(CHECK_INTERVAL)) {
            PendingWorker { exchange: self.handle.exchange(), control, worker: next }.check_wanted()?;
            if start.elapsed() >= limit {
                let pid = before.peer().pid();
                if before.peer().has_exited() {
                    return invalid(format!(
                        "worker process {pid} has ended, but a child forked from it still has its descriptors, so \
                         its GPU work may still use the slots; end the child, then let another worker connect"
                    ));
                }
                let remedy = if same {
                    "it is the process that connects again: drop its `LatestWriter` or `LatestReader` before the renderer disconnects it"
                } else {
                    "end it, then let another worker connect"
                };
                return invalid(format!(
                    "worker process {pid}, which was lost or disconnected and did not close the exchange, may still use its \
                     slots, and has not ended within {limit:?}; {remedy}"
                ));
            }
        }
        self.previous = None;
        reclaim_slots(&self.handle);
        Ok(())
    }
}
