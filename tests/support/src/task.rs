//! Threads that wait, detected through the kernel's state of the thread.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A limit far above the time until a thread waits, on the slowest machine.
const LIMIT: Duration = Duration::from_secs(30);

/// A thread of this process, for tests that check that it waits.
#[derive(Debug, Clone)]
pub struct Task(PathBuf);

impl Task {
    /// Returns the calling thread.
    ///
    /// # Panics
    /// Panics if `/proc` is not mounted.
    pub fn current() -> Self {
        Self(PathBuf::from("/proc").join(fs::read_link("/proc/thread-self").expect("/proc is mounted")))
    }

    /// Returns the threads of this process that have this name, which the kernel cuts off after 15
    /// bytes.
    ///
    /// # Panics
    /// Panics if `/proc` is not mounted.
    pub fn named(name: &str) -> Vec<Self> {
        let tasks = fs::read_dir("/proc/self/task").expect("/proc is mounted").flatten().map(|task| task.path());
        // A thread may end meanwhile.
        let has_name = |task: &PathBuf| fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim_end() == name);
        tasks.filter(has_name).map(Self).collect()
    }

    /// Returns the number of its voluntary context switches, and `true` if the thread is asleep.
    fn sleeps(&self) -> Option<(u64, bool)> {
        let status = fs::read_to_string(self.0.join("status")).ok()?;
        let field = |name| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let count = field("voluntary_ctxt_switches:")?.parse().ok()?;
        Some((count, field("State:").is_some_and(|state| state.starts_with('S'))))
    }

    /// Returns the time that the thread has run on a processor, if the kernel counts it.
    fn run_time(&self) -> Option<Duration> {
        let times = fs::read_to_string(self.0.join("schedstat")).ok()?;
        Some(Duration::from_nanos(times.split(' ').next()?.parse().ok()?))
    }

    /// Waits until the thread stays asleep, as it does when it waits for a lock of this thread, or
    /// until `is_done` returns `true`. A thread that only sleeps for some time counts as waiting.
    ///
    /// # Panics
    /// Panics if neither happens within the limit.
    pub fn wait_until_asleep(&self, is_done: impl FnMut() -> bool) {
        self.wait_until_it_waits(is_done, Duration::MAX);
    }

    /// Like [`wait_until_asleep`](Self::wait_until_asleep), for a thread that may wait in a loop.
    /// It counts as waiting once it has run for `busy` without being done, regardless of how long
    /// other threads kept it from running, or has slept a hundred times. Returns `false` if it is
    /// done instead.
    ///
    /// # Panics
    /// Panics if neither happens within the limit.
    pub fn wait_until_it_waits(&self, mut is_done: impl FnMut() -> bool, busy: Duration) -> bool {
        const CHECKS: usize = 20;
        const SLEEPS: u64 = 100;
        let (begun, started) = (Instant::now(), self.run_time());
        let first = self.sleeps().map(|(count, _)| count);
        let mut last = (None, 0);
        while last.1 < CHECKS {
            if is_done() {
                return false;
            }
            if started.zip(self.run_time()).is_some_and(|(started, now)| now.saturating_sub(started) >= busy) {
                return true;
            }
            assert!(begun.elapsed() < LIMIT, "the thread neither sleeps nor goes on");
            std::thread::sleep(Duration::from_millis(1));
            let sleeps = self.sleeps();
            let loops = first.zip(sleeps).is_some_and(|(first, (now, _))| now - first >= SLEEPS);
            if loops && busy < Duration::MAX {
                return true;
            }
            let asleep = sleeps.and_then(|(count, asleep)| asleep.then_some(count));
            last = if asleep.is_some() && asleep == last.0 { (asleep, last.1 + 1) } else { (asleep, 0) };
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_thread_that_waits_is_told_from_one_that_is_done() {
        let (said, task) = mpsc::channel();
        let (go_on, waits) = mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            said.send(Task::current()).unwrap();
            waits.recv().unwrap();
        });
        let task = task.recv().unwrap();
        assert!(task.wait_until_it_waits(|| thread.is_finished(), Duration::MAX));
        go_on.send(()).unwrap();
        while !thread.is_finished() {
            std::thread::yield_now();
        }
        assert!(!task.wait_until_it_waits(|| thread.is_finished(), Duration::MAX));
    }

    #[test]
    fn a_thread_is_found_by_its_name() {
        let (started, is_started) = mpsc::channel();
        let (go_on, waits) = mpsc::channel::<()>();
        let thread = std::thread::Builder::new().name("found-by-name".into());
        let thread = thread.spawn(move || {
            started.send(()).unwrap();
            let _ = waits.recv();
        });
        is_started.recv().unwrap();
        let found = Task::named("found-by-name");
        assert_eq!((found.len(), Task::named("found-by").len()), (1, 0));
        found[0].wait_until_asleep(|| false);
        drop(go_on);
        thread.unwrap().join().unwrap();
    }

    #[test]
    fn a_thread_that_waits_in_a_loop_is_seen() {
        let task = Task::current();
        let busy = Duration::from_millis(20);
        if task.run_time().is_none_or(|time| time.is_zero()) {
            // This kernel does not count it.
            return;
        }
        let seen = std::thread::scope(|scope| {
            let waits = scope.spawn(|| task.wait_until_it_waits(|| false, busy));
            while !waits.is_finished() {
                std::hint::spin_loop();
            }
            waits.join().unwrap()
        });
        assert!(seen);
    }

    #[test]
    fn a_thread_that_sleeps_in_a_loop_is_seen() {
        let task = Task::current();
        let seen = std::thread::scope(|scope| {
            let waits = scope.spawn(|| task.wait_until_it_waits(|| false, LIMIT));
            while !waits.is_finished() {
                std::thread::sleep(Duration::from_micros(500));
            }
            waits.join().unwrap()
        });
        assert!(seen);
    }
}
