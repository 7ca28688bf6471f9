//! Frames in progress of a worker that is lost or disconnected.

use std::time::{Duration, Instant};

use super::control::has_exited;
use super::listening::{EXIT_GRACE, LossReason, WorkerListener, with_process_end};
use super::part::{Part, WorkerHandle as _};
use super::status::Lost;
use super::wake::sleep;
use crate::observe::{log_warn, worker_trace};

/// Time for which a program that no longer wants a worker waits for copies of its finished frames:
/// far longer than most copies take.
const COPY_LIMIT: Duration = Duration::from_millis(500);

/// Interval at which the end of a dead worker's children is checked, which nothing announces.
const CHILD_INTERVAL: Duration = Duration::from_secs(1);

impl<P: Part> WorkerListener<P> {
    /// Handles the loss of the worker: reports it, and processes the frames that it had finished.
    /// Returns `true` if the worker no longer uses its slots.
    pub(super) fn handle_loss(&mut self, end: LossReason) -> bool {
        let LossReason { mut reason, closed, killed } = end;
        self.part.close();
        // The kernel closes a dead process's sockets before it reports its end. A driver may delay
        // the end of a killed process for long: the program is notified meanwhile.
        let dead = self.control.wait_for_exit(&self.connection, Some(EXIT_GRACE));
        if dead && !killed {
            reason = with_process_end(reason);
        }
        // A worker that fails here contributes no more frames.
        let mut usable = self.advance().is_ok();
        // After its Close, the worker finishes nothing more.
        usable &= !(closed && self.part.needs_worker());
        let owed = self.part.pending_signals() as u64;
        let settled = if dead { self.settle_pending() } else { self.part.settle_pending(false) };
        if !dead {
            worker_trace::close(self.status.exchange(), self.status.worker());
        }
        // Set before the program learns of the loss, and may connect another worker.
        self.status.set_owed(self.part.awaited_frames());
        self.status.record_loss(Lost { reason, dead, held: self.held, owed, settled });
        if let Some(error) = self.status.loss_error() {
            log_warn!("{error}");
        }
        let settled = self.enforce(killed);
        self.record_settled(settled);
        let start = Instant::now();
        while usable && self.part.is_busy() {
            self.control.waker().clear();
            if self.control.is_stopped() {
                break;
            }
            let left = self.timeout.saturating_sub(start.elapsed());
            // Checked before its finished frames are processed: a worker that has ended finishes no
            // more.
            let ended = self.part.needs_worker() && self.connection.peer().has_exited();
            // An error ends the loop and is not reported: the connection has already ended.
            usable = self.advance().is_ok() && !left.is_zero() && !ended;
            if usable && self.part.is_busy() {
                let retry = self.part.retry_delay().map_or(left, |retry| left.min(retry));
                // Without the process and the socket, which stay ready.
                sleep([&**self.control.waker()], Some(retry));
            }
        }
        if usable {
            self.wait_for_copies();
        }
        self.part.release();
        // The process may continue, and end later.
        if !dead && self.outlast(killed) {
            let settled = self.settle_pending();
            self.record_settled(settled);
            self.status.record_death();
        }
        self.outlast_children();
        closed || has_exited(&self.connection)
    }

    /// Returns `true` if the worker itself signals a timeline that submissions wait for. It may set
    /// the timeline back at any time.
    fn signals_itself(&self) -> bool {
        P::Handle::TRUST && self.part.needs_worker()
    }

    /// Waits until the worker's process has ended, or until the thread is asked to end. Returns
    /// `true` if the process has ended. A worker that sets its timeline back meanwhile is killed,
    /// unless it was already.
    fn outlast(&mut self, killed: bool) -> bool {
        loop {
            let settled = self.enforce(killed);
            self.record_settled(settled);
            self.control.waker().clear();
            let dead = self.connection.peer().has_exited();
            if dead || self.control.is_stopped() {
                return dead;
            }
            // A submission wakes the thread.
            let delay = if self.signals_itself() { self.part.retry_delay() } else { None };
            sleep([&**self.control.waker(), self.connection.peer()], delay);
        }
    }

    /// Waits until no child of the worker, whose process has ended, has its descriptors, or until
    /// the thread is asked to end. A signal that a child's work makes may set the timeline back.
    fn outlast_children(&mut self) {
        while self.signals_itself() && self.connection.peer().has_exited() {
            self.control.waker().clear();
            // Queried first: afterwards, nothing sets the timeline back any more.
            let is_last = self.connection.is_released() || self.control.is_stopped();
            // Signals only if the timeline was set back.
            self.part.settle_pending(true);
            if is_last {
                break;
            }
            // A submission wakes the thread.
            let delay = self.part.retry_delay().unwrap_or(CHILD_INTERVAL);
            sleep([&**self.control.waker()], Some(delay));
        }
    }

    /// Gives the worker the frames that were submitted for it, as far as they are drawn and copied
    /// within [`COPY_LIMIT`]. Returns `false` if the worker has failed or can no longer be
    /// notified.
    pub(super) fn send_submitted(&mut self) -> bool {
        let start = Instant::now();
        loop {
            self.control.waker().clear();
            if self.advance().is_err() || self.receives_nothing || self.connection.peer().has_exited() {
                return false;
            }
            let left = COPY_LIMIT.saturating_sub(start.elapsed());
            if left.is_zero() || !self.part.has_frames_to_send() {
                return true;
            }
            let retry = self.part.retry_delay().map_or(left, |retry| left.min(retry));
            sleep([&**self.control.waker(), self.connection.peer()], Some(retry));
        }
    }

    /// Processes the frames that this process is copying, although the program no longer wants the
    /// worker: they are complete, and only the copies are waited for. Does nothing if the program
    /// [discards](Control::discard) them.
    pub(super) fn wait_for_copies(&mut self) {
        let start = Instant::now();
        while !self.control.discards() && self.part.is_copying() {
            self.control.waker().clear();
            let left = COPY_LIMIT.saturating_sub(start.elapsed());
            if self.advance().is_err() || left.is_zero() {
                return;
            }
            if self.part.is_copying() {
                sleep([&**self.control.waker()], Some(left));
            }
        }
    }
}
