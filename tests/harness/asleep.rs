//! Threads that wait for another, seen from outside: the kernel says that they are asleep.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::Rig;

/// A thread of this process, for those who want to see that it waits.
#[derive(Debug, Clone)]
pub struct Task(PathBuf);

impl Task {
    /// The calling thread.
    ///
    /// # Panics
    /// Without `/proc`.
    pub fn current() -> Self {
        Self(PathBuf::from("/proc").join(fs::read_link("/proc/thread-self").unwrap()))
    }

    /// How often it has gone to sleep so far, if it is asleep.
    fn naps(&self) -> Option<String> {
        let status = fs::read_to_string(self.0.join("status")).ok()?;
        let field = |name| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let naps = field("voluntary_ctxt_switches:").map(str::to_owned);
        naps.filter(|_| field("State:").is_some_and(|state| state.starts_with('S')))
    }

    /// Returns once the thread sleeps and does not wake, or once `goes_on`: a thread that waits for
    /// this one, in a lock, is seen to. Whoever sleeps for a while is taken for one that waits.
    ///
    /// # Panics
    /// When it comes to neither.
    pub fn until_asleep(&self, mut goes_on: impl FnMut() -> bool) {
        const LOOKS: usize = 20;
        let begun = Instant::now();
        let mut last = (None, 0);
        while !goes_on() && last.1 < LOOKS {
            assert!(begun.elapsed() < Rig::LONG, "the thread neither sleeps nor goes on");
            std::thread::sleep(Duration::from_millis(1));
            let naps = self.naps();
            last = if naps.is_some() && naps == last.0 { (naps, last.1 + 1) } else { (naps, 0) };
        }
    }
}
