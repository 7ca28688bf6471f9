//! Host waits with a time limit.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::error::Result;

/// Time for which a wait spins before it yields: about the cost of blocking and waking.
pub(crate) const SPIN: Duration = Duration::from_micros(100);

/// Time for which a wait yields the processor between checks, which costs microseconds, before it
/// sleeps, which costs the length of the sleep. Frames and their parts usually end within this
/// time.
const YIELD: Duration = Duration::from_millis(2);

/// The shortest sleep between two checks of a wait that does not spin.
const MIN_SLEEP: Duration = Duration::from_micros(20);

/// The longest sleep between two checks.
const MAX_SLEEP: Duration = Duration::from_micros(500);

/// Interval at which the signaler is checked for a failure.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// Waits until `reached` returns `true`, for at most `limit`: spins first, then yields between
/// checks, then sleeps for longer and longer. `alive` returns an error, which ends the wait, if no
/// signal can arrive any more.
pub(crate) fn poll(
    limit: Duration,
    reached: impl FnMut() -> Result<bool>,
    alive: impl FnMut() -> Result<()>,
) -> Result<bool> {
    poll_with(limit, YIELD, reached, alive)
}

/// Like [`poll`], but sleeps between checks from the start.
pub(crate) fn poll_sleeping(
    limit: Duration,
    reached: impl FnMut() -> Result<bool>,
    alive: impl FnMut() -> Result<()>,
) -> Result<bool> {
    poll_with(limit, Duration::ZERO, reached, alive)
}

/// The loop of [`poll`] and [`poll_sleeping`], which does not sleep during the first `awake`.
fn poll_with(
    limit: Duration,
    awake: Duration,
    mut reached: impl FnMut() -> Result<bool>,
    mut alive: impl FnMut() -> Result<()>,
) -> Result<bool> {
    let start = Instant::now();
    let mut checked = Duration::ZERO;
    loop {
        if reached()? {
            return Ok(true);
        }
        let elapsed = start.elapsed();
        if elapsed >= limit {
            return Ok(false);
        }
        if elapsed - checked >= CHECK_INTERVAL {
            alive()?;
            checked = elapsed;
        }
        if elapsed < SPIN.min(awake) {
            std::hint::spin_loop();
        } else if elapsed < awake {
            std::thread::yield_now();
        } else {
            // Sleeping for an eighth of the elapsed time delays the end of the wait by at most an
            // eighth.
            std::thread::sleep((elapsed / 8).clamp(MIN_SLEEP, MAX_SLEEP).min(limit - elapsed));
        }
    }
}

/// Spins and yields like [`poll`], then calls `block` with the rest of `limit`. The thread does not
/// block at once because a driver wakes a blocked thread tens of microseconds late.
pub(crate) fn spin_then_block(
    limit: Duration,
    mut reached: impl FnMut() -> Result<bool>,
    block: impl FnOnce(Duration) -> Result<bool>,
) -> Result<bool> {
    let start = Instant::now();
    loop {
        if reached()? {
            return Ok(true);
        }
        let elapsed = start.elapsed();
        if elapsed >= YIELD.min(limit) {
            return block(limit.saturating_sub(elapsed));
        }
        if elapsed < SPIN {
            std::hint::spin_loop();
        } else {
            std::thread::yield_now();
        }
    }
}

/// Registration of a thread that waits for Vulkan while CUDA is in use, that is, with NVIDIA's
/// driver.
///
/// With several threads in `vkWaitSemaphores` at once, the last one wakes milliseconds late; so
/// does a thread that reads a counter while another one is in that call (BENCHMARKS.md, "Host
/// waits"). Therefore a thread blocks only while it is alone, for [`BLOCK_SLICE`] at a time, and
/// several threads check and sleep like [`poll_sleeping`].
pub(crate) struct Waiter<'a>(&'a AtomicUsize);

/// The longest time that a thread blocks before it notices other waiting threads.
pub(crate) const BLOCK_SLICE: Duration = Duration::from_millis(1);

/// Number of threads of this process that are registered as waiting.
pub(crate) static WAITERS: AtomicUsize = AtomicUsize::new(0);

impl<'a> Waiter<'a> {
    pub(crate) fn enter(waiters: &'a AtomicUsize) -> Self {
        waiters.fetch_add(1, Ordering::Relaxed);
        Self(waiters)
    }

    pub(crate) fn is_alone(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 1
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn polling_ends_at_its_limit() {
        let start = Instant::now();
        let limit = Duration::from_millis(5);
        assert!(!poll(limit, || Ok(false), || Ok(())).unwrap());
        assert!(start.elapsed() >= limit);
    }

    #[test]
    fn short_wait_does_not_check_the_signaler() {
        let asked = || panic!("asked within {CHECK_INTERVAL:?}");
        assert!(!poll(CHECK_INTERVAL / 4, || Ok(false), asked).unwrap());
    }

    #[test]
    fn polling_ends_when_the_signaler_dies() {
        let dead = || Err(Error::HostFailed { reason: "gone".into() });
        let start = Instant::now();
        assert!(poll(Duration::from_secs(60), || Ok(false), dead).unwrap_err().is_device_lost());
        assert!(start.elapsed() < Duration::from_secs(30));
    }

    /// No sleep is shorter than requested, except the last one before the limit.
    #[test]
    fn sleeping_poll_checks_once_per_sleep() {
        let (start, mut looks) = (Instant::now(), 0);
        let reached = || {
            looks += 1;
            Ok(false)
        };
        assert!(!poll_sleeping(Duration::from_millis(5), reached, || Ok(())).unwrap());
        let most = start.elapsed().as_micros() / MIN_SLEEP.as_micros() + 2;
        assert!((1..=most).contains(&looks), "{looks} looks, of at most {most}");
    }

    #[test]
    fn blocking_gets_the_remaining_time() {
        let limit = Duration::from_secs(60);
        let mut left = None;
        let reached = spin_then_block(
            limit,
            || Ok(false),
            |rest| {
                left = Some(rest);
                Ok(true)
            },
        );
        assert!(reached.unwrap());
        assert!(left.unwrap() <= limit - YIELD && left.unwrap() > limit / 2);
        assert!(spin_then_block(limit, || Ok(true), |_| panic!("blocked without need")).unwrap());
    }

    #[test]
    fn a_thread_blocks_only_while_it_is_alone() {
        let waiters = AtomicUsize::new(0);
        let first = Waiter::enter(&waiters);
        assert!(first.is_alone());
        let second = Waiter::enter(&waiters);
        assert!(!first.is_alone() && !second.is_alone());
        drop(first);
        assert!(second.is_alone());
    }
}
