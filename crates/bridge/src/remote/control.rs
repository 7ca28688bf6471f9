//! The program's requests to the thread of a connection, and the thread's wait for the end of a
//! worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bridge_ipc::Connection;

use super::wake::{Wake, sleep};

/// The program's hold on the thread of a connection.
pub(super) struct Control {
    stop: AtomicBool,
    wake: Arc<Wake>,
}

impl Control {
    pub(super) fn new(wake: &Arc<Wake>) -> Self {
        Self { stop: AtomicBool::new(false), wake: Arc::clone(wake) }
    }

    /// Asks the thread to end.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.wake.wake();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    pub(super) fn wake(&self) -> &Arc<Wake> {
        &self.wake
    }

    /// Waits until the process of a worker has ended, up to `limit`, or until the thread is asked
    /// to end. Returns `true` if the process has ended.
    pub(super) fn await_death(&self, connection: &Connection, limit: Option<Duration>) -> bool {
        let start = Instant::now();
        loop {
            self.wake.clear();
            let left = limit.map(|limit| limit.saturating_sub(start.elapsed()));
            let dead = connection.peer().is_dead();
            if dead || self.is_stopped() || left.is_some_and(|left| left.is_zero()) {
                return dead;
            }
            sleep([&*self.wake, connection.peer()], left);
        }
    }
}

/// Returns `true` once nothing of a worker is left that may write to its slots: the GPU's work of a
/// process that was killed goes on as long as a child that was forked from it lives.
pub(super) fn has_gone(connection: &Connection) -> bool {
    connection.peer().is_dead() && connection.is_released()
}
