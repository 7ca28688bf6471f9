//! Threads that wait for the same point: the delay of the last one, and their total processor time.

use std::sync::Barrier;
use std::thread;

use anyhow::{Context, Result, anyhow};

use crate::harness::clock::thread_cpu_us;
use crate::harness::observer::Watch;

/// The result of a wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    /// Microseconds from the end of the work to when the last waiter continued.
    pub(super) late: f64,
    /// Microseconds of processor time of all waiters, if the system reports it.
    pub(super) cpu: Option<f64>,
}

/// Waits on this thread.
pub(super) fn waited(watch: &Watch<'_, '_>, wait: impl FnOnce() -> Result<()>) -> Result<Wait> {
    let before = thread_cpu_us();
    wait()?;
    // Read first, because reading the processor time takes a while.
    let late = watch.since()?;
    let after = thread_cpu_us();
    Ok(Wait { late, cpu: before.zip(after).map(|(before, after)| after - before) })
}

/// Waits on this thread, or on `count` threads that each call `wait` and start together.
pub(super) fn all_waited(count: usize, watch: &Watch<'_, '_>, wait: impl Fn() -> Result<()> + Sync) -> Result<Wait> {
    if count == 1 {
        return waited(watch, wait);
    }
    let together = Barrier::new(count);
    thread::scope(|scope| {
        let (wait, together) = (&wait, &together);
        let waiter = || {
            scope.spawn(move || {
                together.wait();
                waited(watch, wait)
            })
        };
        let waiters: Vec<_> = (0..count).map(|_| waiter()).collect();
        let waits = waiters.into_iter().map(|waiter| waiter.join().map_err(|_| anyhow!("a waiter panicked"))?);
        let waits = waits.collect::<Result<Vec<_>>>()?;
        let late = waits.iter().map(|wait| wait.late).max_by(f64::total_cmp).context("nobody waited")?;
        Ok(Wait { late, cpu: waits.iter().map(|wait| wait.cpu).sum() })
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    use super::*;
    use crate::harness::observer::Observer;

    #[test]
    fn the_last_waiter_and_the_processor_time_of_all_count() {
        let word = AtomicU32::new(0);
        let observer = Observer::new(&word);
        thread::scope(|scope| {
            let watch = observer.watch(scope);
            word.store(watch.expect_next(), Ordering::Release);
            // The observer has seen the word before any thread waits.
            watch.since().unwrap();
            let number = AtomicUsize::new(0);
            let wait = || {
                // One of the threads sleeps, the others spin.
                if number.fetch_add(1, Ordering::Relaxed) == 0 {
                    thread::sleep(Duration::from_millis(30));
                    return Ok(());
                }
                let begun = Instant::now();
                while thread_cpu_us().is_some() && begun.elapsed() < Duration::from_millis(5) {}
                Ok(())
            };
            let found = all_waited(3, &watch, wait).unwrap();
            assert!(found.late >= 30_000.0, "{found:?}");
            assert_eq!(number.into_inner(), 3);
            assert!(found.cpu.is_none_or(|cpu| cpu > 0.0), "{found:?}");
        });
    }

    #[test]
    fn a_wait_that_fails_is_reported() {
        let word = AtomicU32::new(0);
        let observer = Observer::new(&word);
        thread::scope(|scope| {
            let watch = observer.watch(scope);
            for count in [1, 2] {
                let error = all_waited(count, &watch, || anyhow::bail!("no signal")).unwrap_err();
                assert_eq!(error.to_string(), "no signal");
            }
        });
    }
}
