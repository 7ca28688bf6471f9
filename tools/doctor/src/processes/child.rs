//! The worker process: starting it, reading its outcome, ending it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::problem::{Problem, Stopped};
use super::task::{Task, VARIABLE};
use super::{Direction, StartWorker};

/// Limit of the wait for the end of a process that was killed or has closed its output, which may
/// take longer if a driver blocks it in the kernel.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// A worker process. Dropping this kills it.
pub(super) struct Worker {
    child: Child,
    /// Receives the outcome that the worker reports. Closed when its standard output closes.
    outcomes: Receiver<Result<u32, Stopped>>,
    outcome: Option<Result<u32, Stopped>>,
}

impl Worker {
    /// Starts a worker that connects to `socket`.
    pub(super) fn start(
        start: StartWorker<'_>,
        socket: &Path,
        cuda: bool,
        direction: Direction,
        limit: Duration,
    ) -> Result<Self, Stopped> {
        let failed = |error: std::io::Error| Stopped::new(Problem::NoProcess, error);
        let task = Task { cuda, writes: direction == Direction::WorkerWrites, doctor: std::process::id(), limit };
        let mut command = start().map_err(failed)?;
        command.env(VARIABLE, task.to_value(socket)).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let lines = child.stdout.take().map(|stdout| BufReader::new(stdout).lines());
        let (sender, outcomes) = channel();
        let worker = Self { child, outcomes, outcome: None };
        let listen = move || {
            for line in lines.into_iter().flatten().map_while(Result::ok) {
                if let Ok(outcome) = serde_json::from_str(&line) {
                    // The receiver may be dropped already.
                    let _ = sender.send(outcome);
                }
            }
        };
        // The thread ends when the worker's standard output closes.
        std::thread::Builder::new().name("doctor-worker".into()).spawn(listen).map_err(failed)?;
        Ok(worker)
    }

    /// Returns the process ID, and leaves the process running.
    #[cfg(test)]
    pub(super) fn leak(self) -> u32 {
        let number = self.child.id();
        std::mem::forget(self);
        number
    }

    /// Returns the outcome that the worker reports, waiting at most `limit`, or `None` if there is
    /// none yet. If the process has ended without reporting, the outcome is an error.
    pub(super) fn outcome(&mut self, limit: Duration) -> Option<Result<u32, Stopped>> {
        if self.outcome.is_none() {
            self.outcome = match self.outcomes.recv_timeout(limit) {
                Ok(outcome) => Some(outcome),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => {
                    self.ends_within(KILL_TIMEOUT);
                    let error = format!("the worker's process has ended early ({})", self.status());
                    Some(Err(Stopped::new(Problem::Ended, error)))
                }
            };
        }
        self.outcome.clone()
    }

    /// Waits until the process ends, for at most `limit`. Returns whether it has ended.
    pub(super) fn ends_within(&mut self, limit: Duration) -> bool {
        let start = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if start.elapsed() >= limit {
                return false;
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        true
    }

    fn status(&mut self) -> String {
        match self.child.try_wait() {
            Ok(Some(status)) => status.to_string(),
            _ => "status unknown".to_owned(),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // The error of killing a process that has already ended is ignored.
        let _ = self.child.kill();
        if !self.ends_within(KILL_TIMEOUT) {
            log::warn!("the worker, process {}, was killed and has not ended so far", self.child.id());
        }
    }
}
