//! The program's requests to the thread of a connection, and the thread's wait for the end of a
//! worker.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bridge_ipc::Connection;

use super::wake::{Waker, sleep};
use crate::error::{Error, Result};

/// Shared state through which the program controls the thread of a connection.
pub(super) struct Control {
    stop: AtomicBool,
    discards: AtomicBool,
    waker: Arc<Waker>,
    stage: Mutex<Stage>,
    changed: Condvar,
}

/// State of the thread, for a program that leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The program waits for the thread.
    Running,
    /// The thread waits for the end of a killed worker, or for the thread that does, without a time
    /// limit. It owns everything that it needs, so the program does not wait for it.
    Detached,
    /// The thread has finished.
    Ended,
}

impl Control {
    pub(super) fn new(waker: &Arc<Waker>) -> Self {
        Self {
            stop: AtomicBool::new(false),
            discards: AtomicBool::new(false),
            waker: Arc::clone(waker),
            stage: Mutex::new(Stage::Running),
            changed: Condvar::new(),
        }
    }

    /// Asks the thread to end.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Asks the thread to end without waiting for copies of frames, which will not be used.
    pub(super) fn discard(&self) {
        self.discards.store(true, Ordering::Release);
        self.stop();
    }

    pub(super) fn discards(&self) -> bool {
        self.discards.load(Ordering::Acquire)
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Marks the thread as continuing without the program.
    pub(super) fn detach(&self) {
        self.enter(Stage::Detached);
    }

    /// Marks the thread as finished.
    pub(super) fn end(&self) {
        self.enter(Stage::Ended);
    }

    fn enter(&self, stage: Stage) {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = stage;
        self.changed.notify_all();
    }

    /// Waits until the thread has ended or is detached.
    pub(super) fn wait_for_leave(&self) -> Stage {
        #[cfg(test)]
        crate::observe::steps::note("await leave", std::thread::current().id());
        let stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        let left = self.changed.wait_while(stage, |stage| *stage == Stage::Running);
        *left.unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn waker(&self) -> &Arc<Waker> {
        &self.waker
    }

    /// Waits until the process of a worker has ended, for at most `limit`, or until the thread is
    /// asked to end. Returns `true` if the process has ended.
    pub(super) fn wait_for_exit(&self, connection: &Connection, limit: Option<Duration>) -> bool {
        let start = Instant::now();
        loop {
            self.waker.clear();
            let left = limit.map(|limit| limit.saturating_sub(start.elapsed()));
            let dead = connection.peer().has_exited();
            if dead || self.is_stopped() || left.is_some_and(|left| left.is_zero()) {
                return dead;
            }
            sleep([&*self.waker, connection.peer()], left);
        }
    }
}

/// A thread's wait on behalf of a worker that is to take the exchange. It continues while the
/// program wants the worker and the worker is connected.
pub(super) struct PendingWorker<'a> {
    pub(super) exchange: &'a str,
    pub(super) control: &'a Control,
    pub(super) worker: &'a Connection,
}

impl PendingWorker<'_> {
    /// Checks that the wait should continue.
    ///
    /// # Errors
    /// The reason why it should not.
    pub(super) fn check_wanted(&self) -> Result<()> {
        let peer = self.worker.peer();
        let reason = if self.control.is_stopped() {
            "the renderer ended it before the worker took it".to_owned()
        } else if peer.has_exited() {
            format!("worker process {} ended before the exchange was offered", peer.pid())
        } else if self.worker.is_released() {
            format!("worker process {} closed the connection before the exchange was offered", peer.pid())
        } else {
            return Ok(());
        };
        Err(Error::invalid(format!("exchange \"{}\"", self.exchange), reason))
    }
}

/// Returns `true` once nothing is left of a worker that may write to its slots. The GPU work of a
/// killed process continues while a child that was forked from it lives.
pub(super) fn has_exited(connection: &Connection) -> bool {
    connection.peer().has_exited() && connection.is_released()
}
