//! Threads that wait for another thread, detected through the kernel's state of the thread.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::Rig;

/// A thread of this process, for tests that check that it waits.
#[derive(Debug, Clone)]
pub struct Task(PathBuf);

impl Task {
    /// Returns the calling thread.
    ///
    /// # Panics
    /// Panics if `/proc` is not mounted.
    pub fn current() -> Self {
        Self(PathBuf::from("/proc").join(fs::read_link("/proc/thread-self").unwrap()))
    }

    /// Returns the number of its voluntary context switches if the thread is asleep.
    fn sleep_count(&self) -> Option<String> {
        let status = fs::read_to_string(self.0.join("status")).ok()?;
        let field = |name| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let sleep_count = field("voluntary_ctxt_switches:").map(str::to_owned);
        sleep_count.filter(|_| field("State:").is_some_and(|state| state.starts_with('S')))
    }

    /// Waits until the thread stays asleep, as it does when it waits for a lock of this thread, or
    /// until `is_done` returns `true`. A thread that only sleeps for some time counts as waiting.
    ///
    /// # Panics
    /// Panics if neither happens within the limit.
    pub fn wait_until_asleep(&self, mut is_done: impl FnMut() -> bool) {
        const CHECKS: usize = 20;
        let begun = Instant::now();
        let mut last = (None, 0);
        while !is_done() && last.1 < CHECKS {
            assert!(begun.elapsed() < Rig::LONG, "the thread neither sleeps nor goes on");
            std::thread::sleep(Duration::from_millis(1));
            let sleep_count = self.sleep_count();
            last = if sleep_count.is_some() && sleep_count == last.0 {
                (sleep_count, last.1 + 1)
            } else {
                (sleep_count, 0)
            };
        }
    }
}
