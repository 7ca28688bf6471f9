//! Enforcement of announced values: a worker that does not reach them in time is killed, and the
//! values that a dead worker owes are signaled in its place.

use std::time::{Duration, Instant};

use super::listening::{EXIT_GRACE, KILL_LIMIT, LossReason, WorkerListener};
use super::part::{Part, Settled};
use super::wake::sleep;
use crate::observe::{log_error, log_warn, worker_trace};

/// How long a program that leaves waits for the end of a killed worker. A driver may hold the
/// process for longer; the thread then continues alone.
const LEAVE_LIMIT: Duration = Duration::from_secs(1);

impl<P: Part> WorkerListener<P> {
    /// Kills a worker that has overrun its limit while something waits for it.
    pub(super) fn kill(&self, overrun: &str) -> LossReason {
        let killed = self.kill_process();
        LossReason { killed: true, ..LossReason::from(format!("{overrun}, and {killed}")) }
    }

    /// Kills the worker's process, unless it is this one. Returns what was done.
    fn kill_process(&self) -> String {
        worker_trace::kill(self.status.exchange(), self.status.worker());
        if self.status.worker() == std::process::id() {
            return "is this process, which is not killed".to_owned();
        }
        #[cfg(test)]
        let killed = match self.status.status().spare_worker.load(std::sync::atomic::Ordering::Relaxed) {
            true => Ok(()),
            false => self.connection.peer().kill(),
        };
        #[cfg(not(test))]
        let killed = self.connection.peer().kill();
        killed.map_or_else(|error| format!("cannot be killed: {error}"), |()| "was killed".to_owned())
    }

    /// Describes the announcement that has overrun its limit, if any. `leaves` is as in
    /// [`Part::describe_overrun`].
    pub(super) fn describe_overrun(&mut self, leaves: bool) -> Option<String> {
        #[cfg(test)]
        if self.status.status().force_overrun.load(std::sync::atomic::Ordering::Relaxed) {
            return self.part.describe_overrun(Duration::ZERO, leaves);
        }
        self.part.describe_overrun(self.timeout, leaves)
    }

    /// Waits for the values that the worker has announced, for each up to its limit after the end
    /// of the previous one. A worker that exceeds a limit is killed, unless it was already. Then
    /// waits for its end, however long its driver takes; a program that leaves does not have to
    /// wait for that. Returns the signals that were made in the worker's place.
    pub(super) fn enforce(&mut self, killed: bool) -> Settled {
        let (mut killed, mut is_late) = (killed.then(Instant::now), false);
        while self.part.is_waited_for() {
            self.control.waker().clear();
            if self.connection.peer().has_exited() {
                return self.settle_pending();
            }
            let broken = self.advance().err();
            if let Some(since) = killed {
                if self.control.is_stopped() && since.elapsed() >= LEAVE_LIMIT {
                    self.control.detach();
                }
                if since.elapsed() >= KILL_LIMIT && !std::mem::replace(&mut is_late, true) {
                    let (exchange, worker) = (self.status.exchange(), self.status.worker());
                    log_error!("exchange \"{exchange}\": worker process {worker} has not ended: Vulkan waits for it");
                }
            } else {
                let leaves = self.control.is_stopped();
                if let Some(overrun) = self.describe_overrun(leaves).or(broken) {
                    let done = self.kill_process();
                    log_warn!(
                        "exchange \"{}\": worker process {} {overrun}, and {done}",
                        self.status.exchange(),
                        self.status.worker()
                    );
                    self.status.record_kill(overrun, done);
                    killed = Some(Instant::now());
                }
            }
            let awaited = self.part.awaited_frames();
            if !awaited.is_empty() {
                self.status.set_owed(awaited);
                sleep([&**self.control.waker(), self.connection.peer()], self.part.retry_delay());
            }
        }
        Settled::default()
    }

    /// Records the signals that were made in the place of a lost worker, and what it still owes.
    pub(super) fn record_settled(&self, settled: Settled) {
        self.status.record_settled(settled);
        self.status.set_owed(self.part.awaited_frames());
    }

    /// Signals the values that a worker owed and had not signaled when its process ended.
    pub(super) fn settle_pending(&mut self) -> Settled {
        // Its GPU work may continue while a child of it lives. Values that it signals by then
        // count.
        self.connection.wait_for_release(EXIT_GRACE);
        let _ = self.advance();
        self.part.settle_pending(true)
    }
}
