//! Sleeping and waking of the thread of a connection.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use crate::error::{Error, Result};
use crate::timeline::wait::SPIN;

/// An event counter that can be polled.
pub(super) struct Waker(OwnedFd);

impl Waker {
    pub(super) fn new() -> Result<Self> {
        let made = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        made.map(Self).map_err(|error| Error::invalid("the thread of a connection", format!("eventfd: {error}")))
    }

    pub(super) fn wake(&self) {
        // Fails only if the counter is full, so the thread is already woken.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    /// Resets the counter, so that a sleep lasts until the next call of [`wake`](Self::wake).
    pub(super) fn clear(&self) {
        // Fails only if there was no wake.
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Messages that follow each other within this time find the thread awake. A worker with CUDA
/// announces short frames every 150 to 200 µs, and waking a thread would take it several times as
/// long as the message.
const BETWEEN_MESSAGES: Duration = SPIN.saturating_mul(2);

/// The time until which the thread of a connection polls instead of sleeping.
pub(super) struct Awake {
    until: Instant,
    /// Time of the last message.
    last_message: Option<Instant>,
}

impl Awake {
    pub(super) fn new(now: Instant) -> Self {
        Self { until: now, last_message: None }
    }

    pub(super) fn until(&self) -> Instant {
        self.until
    }

    /// Records an event: the next one may follow soon.
    pub(super) fn record_event(&mut self, now: Instant) {
        self.until = self.until.max(now + SPIN);
    }

    /// Records the event of a message, or of several that arrived together.
    pub(super) fn record_message(&mut self, now: Instant) {
        self.record_event(now);
        let last = self.last_message.replace(now);
        if last.is_some_and(|last| now.saturating_duration_since(last) <= BETWEEN_MESSAGES) {
            self.until = self.until.max(now + BETWEEN_MESSAGES);
        }
    }
}

/// Sleeps until one of the descriptors is readable, for at most `limit`. It may return earlier.
pub(super) fn sleep<const N: usize>(descriptors: [&dyn AsFd; N], limit: Option<Duration>) {
    sleep_after_polling(descriptors, limit, Instant::now());
}

/// Like `sleep`, but polls until `awake` instead of sleeping, and yields to other threads. Returns
/// for each descriptor whether it is readable: none at the limit, and all if that is unknown.
pub(super) fn sleep_after_polling<const N: usize>(
    descriptors: [&dyn AsFd; N],
    limit: Option<Duration>,
    awake: Instant,
) -> [bool; N] {
    let mut fds = descriptors.each_ref().map(|fd| PollFd::new(fd, PollFlags::IN));
    let start = Instant::now();
    let mut spent = Duration::ZERO;
    let is_over = |spent| limit.is_some_and(|limit| spent >= limit);
    while start + spent < awake && !is_over(spent) {
        let ready = polled(&mut fds, Some(&Timespec::default()));
        if ready.contains(&true) {
            return ready;
        }
        std::thread::yield_now();
        spent = start.elapsed();
    }
    if spent > Duration::ZERO && is_over(spent) {
        return [false; N];
    }
    // A limit that is too large for the system counts as none.
    let left = limit.and_then(|limit| Timespec::try_from(limit.saturating_sub(spent)).ok());
    polled(&mut fds, left.as_ref())
}

fn polled<const N: usize>(fds: &mut [PollFd<'_>; N], left: Option<&Timespec>) -> [bool; N] {
    match poll(&mut fds[..], left) {
        Ok(0) => [false; N],
        Ok(_) => fds.each_ref().map(|fd| !fd.revents().is_empty()),
        // If interrupted, all descriptors count as readable.
        Err(_) => [true; N],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Between frequent messages the thread does not sleep; a single one does not keep it awake.
    #[test]
    fn frequent_messages_keep_the_thread_awake() {
        let start = Instant::now();
        let mut awake = Awake::new(start);
        assert_eq!(awake.until(), start);
        let mut now = start;
        awake.record_message(now);
        assert_eq!(awake.until(), now + SPIN);
        for _ in 0..3 {
            now += BETWEEN_MESSAGES;
            awake.record_message(now);
            assert_eq!(awake.until(), now + BETWEEN_MESSAGES);
            // Another event does not shorten it.
            awake.record_event(now + SPIN / 2);
            assert_eq!(awake.until(), now + BETWEEN_MESSAGES);
        }
        now += BETWEEN_MESSAGES + Duration::from_micros(1);
        awake.record_message(now);
        assert_eq!(awake.until(), now + SPIN);
        awake.record_event(now + SPIN);
        assert_eq!(awake.until(), now + 2 * SPIN);
    }

    #[test]
    fn sleep_returns_what_ended_it() {
        let (quiet, woken) = (Waker::new().unwrap(), Waker::new().unwrap());
        woken.wake();
        let now = Instant::now();
        for awake in [now, now + Duration::from_secs(20)] {
            assert_eq!(sleep_after_polling([&quiet, &woken, &quiet], None, awake), [false, true, false]);
        }
        woken.clear();
        for awake in [now, Instant::now() + Duration::from_secs(20)] {
            let limit = Some(Duration::from_millis(1));
            assert_eq!(sleep_after_polling([&quiet, &woken], limit, awake), [false, false]);
        }
    }
}
