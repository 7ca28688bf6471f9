//! Ends renderers while this process uses what they share.

use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::worker::send;

/// The time in which a process that was stopped could be taken for dead.
const STOPPED: Duration = Duration::from_millis(30);

/// The times of the end of a process.
pub(crate) struct Ended {
    /// It was alive until then.
    alive: Instant,
    /// It was reaped before.
    reaped: Instant,
}

impl Ended {
    /// Returns the time from the end of the process to the report of it, which may precede that the
    /// process is reaped.
    ///
    /// # Panics
    /// Panics if it was reported while the process was alive.
    pub(crate) fn until(&self, reported: Instant) -> Duration {
        assert!(reported >= self.alive, "a process that is only stopped was taken for dead");
        reported.saturating_duration_since(self.reaped)
    }
}

/// Ends a process with a signal. One that is only stopped is killed some time later.
pub(crate) fn end(child: &mut Child, signal: Signal) -> Ended {
    let mut alive = Instant::now();
    send(child, signal);
    if signal == Signal::STOP {
        std::thread::sleep(STOPPED);
        alive = Instant::now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    Ended { alive, reaped: Instant::now() }
}

#[test]
fn a_report_while_the_process_is_stopped_fails() {
    let before = Instant::now();
    let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let ended = end(&mut child, Signal::STOP);
    ended.until(Instant::now());
    let report = std::panic::catch_unwind(|| ended.until(before));
    assert!(report.is_err(), "a report of a living process passes");
}
