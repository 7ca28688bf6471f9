//! A thread that watches a word in memory which the GPU writes: when it changes, the work before
//! has ended.
#![allow(unsafe_code)] // Reads memory that the GPU writes.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::{self, Scope};
use std::time::Instant;

use anyhow::Result;

use super::spin_until;

/// The word and what was seen of it. It costs a processor for as long as it watches.
pub(crate) struct Observer<'w> {
    word: &'w AtomicU32,
    begun: Instant,
    /// What the word is going to be.
    expected: AtomicU32,
    /// What it was last seen to be, and when, in nanoseconds from `begun`.
    seen: AtomicU32,
    when: AtomicU64,
    stop: AtomicBool,
}

impl<'w> Observer<'w> {
    /// Of a word that is 0 now, and on which every value is greater than the one before.
    pub(crate) fn new(word: &'w AtomicU32) -> Self {
        Self {
            word,
            begun: Instant::now(),
            expected: AtomicU32::new(0),
            seen: AtomicU32::new(0),
            when: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        }
    }

    /// Watches until the result is dropped.
    pub(crate) fn watch<'s, 'e>(&'s self, scope: &'s Scope<'s, 'e>) -> Watch<'s, 'w> {
        thread::Builder::new().name("observer".into()).spawn_scoped(scope, || self.look()).ok();
        Watch(self)
    }

    fn look(&self) {
        while !self.stop.load(Ordering::Relaxed) {
            let expected = self.expected.load(Ordering::Acquire);
            if expected != self.seen.load(Ordering::Relaxed) && self.word.load(Ordering::Acquire) == expected {
                // Centuries of nanoseconds fit.
                self.when.store(self.begun.elapsed().as_nanos() as u64, Ordering::Relaxed);
                self.seen.store(expected, Ordering::Release);
            }
            std::hint::spin_loop();
        }
    }
}

/// An observer at work.
pub(crate) struct Watch<'s, 'w>(&'s Observer<'w>);

impl Watch<'_, '_> {
    /// The value that is to be expected next. Nothing has been enqueued yet that writes it.
    pub(crate) fn expect_next(&self) -> u32 {
        let next = self.0.expected.load(Ordering::Relaxed) + 1;
        self.0.expected.store(next, Ordering::Release);
        next
    }

    /// Microseconds from when the last expected value was seen until now; 0 where the caller was
    /// quicker.
    pub(crate) fn since(&self) -> Result<f64> {
        let now = self.0.begun.elapsed().as_nanos() as u64;
        let expected = self.0.expected.load(Ordering::Relaxed);
        spin_until("the word that the GPU writes", || Ok(self.0.seen.load(Ordering::Acquire) == expected))?;
        Ok(now.saturating_sub(self.0.when.load(Ordering::Relaxed)) as f64 * 1e-3)
    }
}

impl Drop for Watch<'_, '_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

/// A word in memory that a device writes.
///
/// # Safety
/// `pointer` is to four bytes of mapped memory, aligned to four, which live as long as `'w`, and
/// which nothing but the device writes.
pub(crate) unsafe fn word_at<'w>(pointer: *mut u8) -> &'w AtomicU32 {
    // SAFETY: as the caller promises; an aligned write of the device is seen whole.
    unsafe { AtomicU32::from_ptr(pointer.cast()) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_write_is_seen_when_it_happens() {
        let word = AtomicU32::new(0);
        let observer = Observer::new(&word);
        thread::scope(|scope| {
            let watch = observer.watch(scope);
            for _ in 0..3 {
                let next = watch.expect_next();
                let before = Instant::now();
                word.store(next, Ordering::Release);
                spin_until("the word", || Ok(observer.seen.load(Ordering::Acquire) == next)).unwrap();
                // The word was seen between `before` and `after`, however long either takes.
                let after = Instant::now();
                thread::sleep(Duration::from_millis(5));
                let least = after.elapsed();
                let late = watch.since().unwrap();
                let most = before.elapsed();
                let micros = |time: Duration| time.as_secs_f64() * 1e6;
                assert!(late >= micros(least) - 1.0 && late <= micros(most) + 1.0, "{late}: {least:?} to {most:?}");
            }
        });
    }
}
