//! Sleeping and waking of the thread of a connection.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use crate::error::{Error, Result};

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
