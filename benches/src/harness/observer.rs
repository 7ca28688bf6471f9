//! A thread that polls a word in memory that the GPU writes: when the word changes, the work before
//! it has ended.
#![allow(unsafe_code)] // Reads memory that the GPU writes.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::{self, Scope};
use std::time::Instant;

use anyhow::Result;

use super::spin_until;

/// The word, and the observations of it. Watching keeps one processor busy.
pub(crate) struct Observer<'w> {
    word: &'w AtomicU32,
    begun: Instant,
    /// The next expected value of the word.
    expected: AtomicU32,
    /// The last observed value, and the time of that observation in nanoseconds from `begun`.
    seen: AtomicU32,
    when: AtomicU64,
    stop: AtomicBool,
}

impl<'w> Observer<'w> {
    /// Creates an observer of a word that is 0 and whose values only increase.
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

    /// Watches the word until the result is dropped.
    pub(crate) fn watch<'s, 'e>(&'s self, scope: &'s Scope<'s, 'e>) -> Watch<'s, 'w> {
        thread::Builder::new().name("observer".into()).spawn_scoped(scope, || self.look()).ok();
        Watch(self)
    }

    fn look(&self) {
        while !self.stop.load(Ordering::Relaxed) {
            let expected = self.expected.load(Ordering::Acquire);
            if expected != self.seen.load(Ordering::Relaxed) && self.word.load(Ordering::Acquire) == expected {
                // The nanoseconds overflow only after centuries.
                self.when.store(self.begun.elapsed().as_nanos() as u64, Ordering::Relaxed);
                self.seen.store(expected, Ordering::Release);
            }
            std::hint::spin_loop();
        }
    }
}

/// A running observer.
pub(crate) struct Watch<'s, 'w>(&'s Observer<'w>);

impl Watch<'_, '_> {
    /// Returns the next value to be expected. The work that writes it must not be enqueued yet.
    pub(crate) fn expect_next(&self) -> u32 {
        let next = self.0.expected.load(Ordering::Relaxed) + 1;
        self.0.expected.store(next, Ordering::Release);
        next
    }

    /// Returns the microseconds since the last expected value was observed; 0 if the observation
    /// came after the call.
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

/// Returns a word in memory that a device writes.
///
/// # Safety
/// `pointer` points to four bytes of mapped memory, aligned to four, which live as long as `'w` and
/// are written by the device only.
pub(crate) unsafe fn word_at<'w>(pointer: *mut u8) -> &'w AtomicU32 {
    // SAFETY: the caller upholds the contract; an aligned write of the device is seen as a whole.
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
                // The word was observed between `before` and `after`, however long either takes.
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
