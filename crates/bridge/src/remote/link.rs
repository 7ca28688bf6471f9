//! The thread of a connection, from the offer to the worker's end.

use std::cell::Cell;
use std::convert::Infallible;
use std::sync::mpsc::{SyncSender, channel};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use bridge_ipc::{Code, Connection};

use super::control::{Control, PendingWorker, Stage};
use super::listening::{EXIT_GRACE, WorkerListener};
use super::memory::AcceptedMemory;
use super::part::{Backoff, Part, Slots, WorkerHandle};
use super::status::{Lost, Status, WorkerStatus};
use super::stored_handle::{HandleStore, StoredHandle, take};
use super::terms::Terms;
use super::thread::WorkerThread;
use super::wake::Waker;
use crate::error::{Error, Result};
use crate::observe::worker_trace;

/// A connection that a thread listens to. Dropping it ends both and restores the workers' handle,
/// unless the thread is [detached](Self::end).
///
/// A forked child has a copy, but neither the thread nor the connection: it ends nothing, and waits
/// for nothing.
pub(super) struct WorkerLink {
    control: Arc<Control>,
    status: Arc<WorkerStatus>,
    thread: Option<WorkerThread>,
}

impl WorkerLink {
    /// Starts a thread that offers the exchange to the worker, and listens to it once it has
    /// accepted. Waits for neither; the result of the offer is sent to `result_sender`. The thread
    /// also takes over a detached thread `before`, and waits for it first, within the limit of the
    /// offer.
    pub(super) fn new<E: WorkerHandle>(
        connection: Connection,
        terms: &Terms,
        status: &Arc<Status>,
        store: &HandleStore<E>,
        waker: &Arc<Waker>,
        before: &mut Option<WorkerThread>,
        result_sender: Option<SyncSender<Result<()>>>,
    ) -> Result<Self> {
        let control = Arc::new(Control::new(waker));
        let worker = connection.peer().pid();
        let (give, gives) = channel::<WorkerThread>();
        #[cfg(test)]
        let fails = status.fail_thread_start.load(std::sync::atomic::Ordering::Relaxed);
        let status = status.connect_worker(worker);
        let thread = LinkThread {
            connection,
            terms: terms.clone(),
            status: Arc::clone(&status),
            store: Arc::clone(store),
            control: Arc::clone(&control),
            result_sender,
        };
        worker_trace::connect(status.exchange(), worker);
        let builder = std::thread::Builder::new().name("bridge-remote".into());
        #[cfg(test)]
        let builder = if fails { builder.stack_size(1 << 60) } else { builder };
        let thread = builder.spawn(move || thread.run(gives.recv().ok())).map_err(|error| {
            let reason = format!("cannot be served, since no thread could be started: {error}");
            status.record_loss(Lost { reason: reason.clone(), ..Lost::default() });
            Error::HostFailed { reason: format!("worker process {worker} {reason}") }
        })?;
        // Not moved into the closure: if no thread starts, `before` is waited for by another one.
        if let Some(before) = before.take() {
            let _ = give.send(before);
        }
        Ok(Self { control, status, thread: Some(WorkerThread::new(thread)) })
    }

    /// Ends the connection. Returns the thread if it continues: the worker owes something, was
    /// killed for that, and its process has not ended yet, or the thread waits for that of such a
    /// worker. The thread owns everything that it needs to signal in the worker's place afterwards,
    /// and then restores the handle.
    pub(super) fn end(mut self) -> Option<WorkerThread> {
        self.leave()
    }

    /// Asks the thread to end the connection, without waiting.
    pub(super) fn stop(&self) {
        // A forked child has the event counter of its parent.
        if !self.is_forked() {
            self.control.stop();
        }
    }

    /// Like [`stop`](Self::stop), if frames that are being copied will not be used.
    pub(super) fn discard(&self) {
        if !self.is_forked() {
            self.control.discard();
        }
    }

    /// Returns the status of this connection's worker.
    pub(super) fn status(&self) -> &Arc<WorkerStatus> {
        &self.status
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.control.is_stopped()
    }

    /// Lets the thread end the connection alone. It restores the handle.
    pub(super) fn abandon(mut self) -> Option<WorkerThread> {
        self.stop();
        self.take_thread()
    }

    /// Returns `true` in a process that was forked from the one that has the thread.
    fn is_forked(&self) -> bool {
        self.thread.as_ref().is_some_and(WorkerThread::is_forked)
    }

    fn leave(&mut self) -> Option<WorkerThread> {
        let thread = self.take_thread()?;
        self.control.stop();
        if self.control.wait_for_leave() == Stage::Detached {
            return Some(thread);
        }
        thread.join();
        None
    }

    fn take_thread(&mut self) -> Option<WorkerThread> {
        if self.is_forked() {
            return None;
        }
        self.thread.take()
    }
}

impl Drop for WorkerLink {
    fn drop(&mut self) {
        self.discard();
        drop(self.leave());
    }
}

/// State of a connection's thread.
struct LinkThread<E: WorkerHandle> {
    connection: Connection,
    terms: Terms,
    status: Arc<WorkerStatus>,
    store: HandleStore<E>,
    control: Arc<Control>,
    result_sender: Option<SyncSender<Result<()>>>,
}

impl<E: WorkerHandle> LinkThread<E> {
    /// Offers the exchange to the worker and listens to it. The thread `before`, if any, still has
    /// the handle and is waited for.
    fn run(mut self, before: Option<WorkerThread>) {
        let _ended = EndGuard(Arc::clone(&self.control));
        let status = Arc::clone(&self.status);
        let panic_guard = PanicGuard(&status);
        Backoff::set_precise_sleep();
        if let Some(before) = before {
            if let Err(error) = self.wait_for_thread(&before) {
                let dead = self.refuse(error, None);
                return self.outlast(before, dead);
            }
            before.join();
        }
        // The handle was lost with a thread that panicked.
        let Some(mut stored) = take(&self.store) else {
            self.connection.close(Code::Failure, "the renderer's thread for the workers of this exchange has failed");
            return panic_guard.report();
        };
        let given = match self.offer(&mut stored) {
            Ok(given) => given,
            Err(error) => {
                let dead = self.refuse(error, Some(stored));
                return self.wait_for_death(dead);
            }
        };
        worker_trace::offer(status.exchange(), self.connection.peer().pid());
        self.report(Ok(()));
        let Self { connection, terms, status, store, control, .. } = self;
        let (held, timeout) = (terms.initial_slots() as usize, terms.timeout);
        let part = E::Part::new(stored.handle, given, control.waker());
        let listener = WorkerListener { connection, part, control, status, timeout, held, receives_nothing: false };
        restore(&store, listener.run());
    }

    /// Waits for the thread of the last worker, which restores the handle once nothing waits for
    /// that worker.
    fn wait_for_thread(&self, before: &WorkerThread) -> Result<()> {
        let (start, exchange, limit) = (Instant::now(), self.status.exchange(), self.terms.timeout);
        let pending = PendingWorker { exchange, control: &self.control, worker: &self.connection };
        before.wait(|| {
            pending.check_wanted()?;
            if start.elapsed() < limit {
                return Ok(());
            }
            Err(Error::invalid(
                format!("exchange \"{exchange}\""),
                format!(
                    "the process of the last worker, which was killed and which Vulkan may wait for, has not ended \
                     within {limit:?}; end it, then let another worker connect"
                ),
            ))
        })
    }

    /// Offers the exchange once the last worker no longer uses its slots.
    fn offer(&mut self, stored: &mut StoredHandle<E>) -> Result<AcceptedMemory<Slots<E>>> {
        let Self { connection, terms, status, control, .. } = self;
        stored.wait_for_previous(connection, control, terms.timeout)?;
        let pending = PendingWorker { exchange: status.exchange(), control, worker: connection };
        stored.handle.prepare(terms.backend, terms.timeout, &|| pending.check_wanted())?;
        let memory = stored.handle.memory(terms)?;
        terms.offer(connection, memory, control)
    }

    /// Ends the connection with a worker that does not get the exchange, and restores the handle.
    /// Returns `true` if the worker's process has ended.
    fn refuse(&mut self, error: Error, stored: Option<StoredHandle<E>>) -> bool {
        let error = offer_error(&mut self.connection, error);
        // If this process has failed, the worker is still waiting.
        let code = if self.control.is_stopped() { Code::Done } else { Code::Failure };
        self.connection.close(code, &error.to_string());
        if let Some(stored) = stored {
            restore(&self.store, stored);
        }
        let dead = self.control.wait_for_exit(&self.connection, Some(EXIT_GRACE));
        self.status.record_loss(Lost {
            reason: format!("has not taken the exchange: {error}"),
            dead,
            ..Lost::default()
        });
        self.report(Err(error));
        dead
    }

    /// Waits until the process of a refused worker has ended, unless it is `dead`, or until the
    /// thread is asked to end.
    fn wait_for_death(&self, dead: bool) {
        if !dead && self.control.wait_for_exit(&self.connection, None) {
            self.status.record_death();
        }
    }

    /// Waits for the thread of the last worker, however long that takes, and for the end of this
    /// one. A program that leaves does not have to wait for that.
    fn outlast(&self, before: WorkerThread, dead: bool) {
        let is_dead = Cell::new(dead);
        // Does not sleep on the waker, which that thread may clear.
        let Ok(()) = before.wait(|| {
            if !is_dead.get() && self.connection.peer().has_exited() {
                is_dead.set(true);
                self.status.record_death();
            }
            if self.control.is_stopped() {
                self.control.detach();
            }
            Ok::<_, Infallible>(())
        });
        before.join();
        self.wait_for_death(is_dead.get());
    }

    fn report(&self, result: Result<()>) {
        if let Some(result_sender) = &self.result_sender {
            // The program waits for the result.
            let _ = result_sender.send(result);
        }
    }
}

/// Puts the handle back where the thread of the next worker finds it.
fn restore<E: WorkerHandle>(store: &HandleStore<E>, stored: StoredHandle<E>) {
    *store.lock().unwrap_or_else(PoisonError::into_inner) = Some(stored);
}

/// Maximum number of messages that a worker sends after its Hello before it is offered anything.
const MAX_MESSAGES: usize = 4;

/// Returns the reason why a worker was not offered the exchange: the worker's own, if it has ended
/// the connection with one, and `error` otherwise.
fn offer_error(connection: &mut Connection, error: Error) -> Error {
    if connection.has_ended() {
        return error;
    }
    for _ in 0..MAX_MESSAGES {
        match connection.try_receive() {
            Ok(Some(_)) => {}
            Err(message @ bridge_ipc::Error::Closed { reason: Some(_), .. }) => return message.into(),
            Ok(None) | Err(_) => break,
        }
    }
    error
}

/// Reports the end of a thread, even if it panics.
struct EndGuard(Arc<Control>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Reports a thread that panics: no thread listens to the worker from then on.
struct PanicGuard<'a>(&'a WorkerStatus);

impl PanicGuard<'_> {
    fn report(&self) {
        // An earlier report takes precedence.
        self.0.record_loss(Lost { reason: "is no longer served".to_owned(), ..Lost::default() });
    }
}

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.report();
        }
    }
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
