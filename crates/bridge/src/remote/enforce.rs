//! Enforcement of announced values: a worker that does not reach them in time is killed, and the
//! values that a dead worker owes are signaled in its place.

use std::time::{Duration, Instant};

use super::listening::{End, KILL_LIMIT, Listening, TOGETHER};
use super::part::{Part, Settled};
use super::wake::sleep;
use crate::observe::trace::{self, Event};
use crate::observe::{log_error, log_warn};

/// How long a program that leaves waits for the end of a killed worker. A driver may hold the
/// process for longer; the thread then continues alone.
const LEAVE_LIMIT: Duration = Duration::from_secs(1);

impl<P: Part> Listening<P> {
    /// Kills a worker that has overrun its limit while something waits for it.
    pub(super) fn kill(&self, overrun: &str) -> End {
        trace::event(Event::new("kill", "host", self.status.exchange()).peer(self.status.worker()));
        let done = if self.status.worker() == std::process::id() {
            "is this process, which is not killed".to_owned()
        } else {
            #[cfg(test)]
            let killed = match self.status.spares.load(std::sync::atomic::Ordering::Relaxed) {
                true => Ok(()),
                false => self.connection.peer().kill(),
            };
            #[cfg(not(test))]
            let killed = self.connection.peer().kill();
            killed.map_or_else(|error| format!("cannot be killed: {error}"), |()| "was killed".to_owned())
        };
        End { killed: true, ..End::from(format!("{overrun}, and {done}")) }
    }

    /// Describes the announcement that has overrun its limit, if any. `leaves` is as in
    /// [`Part::overrun`].
    pub(super) fn overrun(&mut self, leaves: bool) -> Option<String> {
        #[cfg(test)]
        if self.status.limit_is_over.load(std::sync::atomic::Ordering::Relaxed) {
            return self.part.overrun(Duration::ZERO, leaves);
        }
        self.part.overrun(self.timeout, leaves)
    }

    /// Waits for the values that the worker has announced, for each up to its limit after the end
    /// of the previous one. A worker that exceeds a limit is killed, unless it was already. Then
    /// waits for its end, however long its driver takes; a program that leaves does not have to
    /// wait for that. Returns the signals that were made in the worker's place.
    pub(super) fn enforce(&mut self, killed: bool) -> Settled {
        let (mut killed, mut is_late) = (killed.then(Instant::now), false);
        while self.part.is_waited_for() {
            self.control.wake().clear();
            if self.connection.peer().is_dead() {
                return self.settle();
            }
            let broken = self.take_over().err();
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
                if let Some(overrun) = self.overrun(leaves).or(broken) {
                    let End { reason, .. } = self.kill(&overrun);
                    log_warn!(
                        "exchange \"{}\": worker process {} {reason}",
                        self.status.exchange(),
                        self.status.worker()
                    );
                    self.status.killed(&reason);
                    killed = Some(Instant::now());
                }
            }
            if self.part.is_waited_for() {
                self.status.owes(self.part.waited_for());
                sleep([&**self.control.wake(), self.connection.peer()], self.part.retry());
            }
        }
        Settled::default()
    }

    /// Records the signals that were made in the place of a lost worker, and what it still owes.
    pub(super) fn settled(&self, settled: Settled) {
        self.status.settled(settled);
        self.status.owes(self.part.waited_for());
    }

    /// Signals the values that a worker owed and had not signaled when its process ended.
    pub(super) fn settle(&mut self) -> Settled {
        // Its GPU work may continue while a child of it lives. Values that it signals by then
        // count.
        self.connection.wait_for_release(TOGETHER);
        let _ = self.take_over();
        self.part.settle(true)
    }
}
