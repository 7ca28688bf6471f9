//! Frames that the CPU computes in ordinary memory, for Bevy to upload.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, Result};

/// The number of closures that may wait or run: one running and one queued.
const IN_FLIGHT: usize = 2;

/// A closure that computes a frame.
pub(crate) type Job<T> = Box<dyn FnOnce(&mut [T]) + Send>;

/// The computing side: runs closures in order, on a separate thread.
pub(crate) struct Uploader<T> {
    jobs: Sender<Job<T>>,
    /// The number of items of a frame.
    len: usize,
    shared: Arc<Shared<T>>,
}

/// The side that uploads the newest frame.
pub(crate) struct Newest<T>(Arc<Shared<T>>);

struct Shared<T> {
    name: String,
    /// The newest complete frame, until it is taken.
    newest: Mutex<Option<Vec<T>>>,
    /// Memory for later frames.
    spare: Mutex<Vec<Vec<T>>>,
    unfinished: AtomicUsize,
    panicked: AtomicBool,
    /// `true` if a frame was skipped for lack of memory, until that is reported.
    skipped: AtomicBool,
}

/// Creates both sides for frames of `len` items.
pub(crate) fn pair<T: bytemuck::Zeroable + Clone + Send + 'static>(
    name: &str,
    len: usize,
) -> Result<(Uploader<T>, Newest<T>)> {
    let first = frame(len).ok_or_else(|| no_memory::<T>(name, len))?;
    let shared = Arc::new(Shared {
        name: name.to_owned(),
        newest: Mutex::default(),
        spare: Mutex::new(vec![first]),
        unfinished: AtomicUsize::new(0),
        panicked: AtomicBool::new(false),
        skipped: AtomicBool::new(false),
    });
    let (jobs, queue) = channel::<Job<T>>();
    let of_thread = Arc::clone(&shared);
    let run = move || {
        let shared = of_thread;
        for job in queue {
            match shared.take_spare().or_else(|| frame(len)) {
                Some(items) => shared.compute(job, items),
                None => shared.skipped.store(true, Ordering::Release),
            }
            shared.unfinished.fetch_sub(1, Ordering::AcqRel);
        }
    };
    std::thread::Builder::new()
        // Thread names must not contain NUL.
        .name(format!("cpu:{}", name.replace('\0', " ")))
        .spawn(run)
        .map_err(|error| Error::invalid(name, format!("could not start a compute thread: {error}")))?;
    Ok((Uploader { jobs, len, shared: Arc::clone(&shared) }, Newest(shared)))
}

/// Returns the memory of a frame; `None` if there is not enough.
fn frame<T: bytemuck::Zeroable + Clone>(len: usize) -> Option<Vec<T>> {
    let mut items = Vec::new();
    items.try_reserve_exact(len).ok()?;
    items.resize(len, T::zeroed());
    Some(items)
}

fn no_memory<T>(name: &str, len: usize) -> Error {
    let item = size_of::<T>();
    Error::invalid(name, format!("there is no memory for a frame of {len} items of {item} bytes; make it smaller"))
}

impl<T> Uploader<T> {
    /// Returns `true` if a frame may be begun, and `false` while two frames are unfinished.
    ///
    /// # Errors
    /// [`Error::Panicked`] after a closure has panicked. [`Error::InvalidArgument`], once, after a
    /// frame was skipped for lack of memory.
    pub(crate) fn is_ready(&self) -> Result<bool> {
        if self.shared.panicked.load(Ordering::Acquire) {
            return Err(Error::Panicked { object: self.shared.name.clone() });
        }
        if self.shared.skipped.swap(false, Ordering::AcqRel) {
            return Err(no_memory::<T>(&self.shared.name, self.len));
        }
        Ok(self.shared.unfinished.load(Ordering::Acquire) < IN_FLIGHT)
    }

    /// Enqueues a frame.
    pub(crate) fn run(&self, job: impl FnOnce(&mut [T]) + Send + 'static) -> Result<()> {
        self.shared.unfinished.fetch_add(1, Ordering::AcqRel);
        let stopped = |_| Error::Panicked { object: self.shared.name.clone() };
        self.jobs.send(Box::new(job)).map_err(stopped)
    }
}

impl<T> Newest<T> {
    /// Takes the newest frame, if there is one that has not been taken.
    pub(crate) fn take(&self) -> Option<Vec<T>> {
        self.0.newest.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Returns the memory of a frame for reuse.
    pub(crate) fn give_back(&self, items: Vec<T>) {
        self.0.give_spare(items);
    }
}

impl<T> Shared<T> {
    /// Computes a frame in this memory.
    fn compute(&self, job: Job<T>, mut items: Vec<T>) {
        if catch_unwind(AssertUnwindSafe(|| job(&mut items))).is_err() {
            return self.panicked.store(true, Ordering::Release);
        }
        let old = self.newest.lock().unwrap_or_else(PoisonError::into_inner).replace(items);
        old.into_iter().for_each(|old| self.give_spare(old));
    }

    fn take_spare(&self) -> Option<Vec<T>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn give_spare(&self, items: Vec<T>) {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).push(items);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // Tests.
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn until(mut condition: impl FnMut() -> bool) {
        let end = Instant::now() + Duration::from_secs(30);
        while !condition() {
            assert!(Instant::now() < end, "it never came");
            std::thread::yield_now();
        }
    }

    #[test]
    fn the_newest_is_taken_once_and_memory_is_used_again() {
        let (uploader, newest) = pair::<u32>("numbers", 4).unwrap();
        for frame in 1..50 {
            until(|| uploader.is_ready().unwrap());
            uploader.run(move |items| items.fill(frame)).unwrap();
        }
        until(|| uploader.shared.unfinished.load(Ordering::Acquire) == 0);
        let items = newest.take().unwrap();
        assert_eq!(items, [49; 4]);
        assert!(newest.take().is_none());
        newest.give_back(items);
        assert!(uploader.shared.spare.lock().unwrap().len() <= 3);
    }

    #[test]
    fn a_panic_is_an_error_of_the_next_frame() {
        let (uploader, newest) = pair::<u32>("numbers", 4).unwrap();
        uploader.run(|_| panic!("on purpose")).unwrap();
        until(|| uploader.is_ready().is_err());
        assert!(newest.take().is_none());
    }

    /// Neither a length that cannot be addressed nor one without memory ends the process.
    #[test]
    fn frames_without_memory_are_refused() {
        for len in [1 << 61, 1 << 50] {
            let refused = pair::<u32>("numbers", len);
            assert!(matches!(refused, Err(Error::InvalidArgument { object, .. }) if object == "numbers"), "{len}");
        }
    }

    #[test]
    fn a_third_unfinished_frame_is_not_begun() {
        let (uploader, _newest) = pair::<u32>("numbers", 4).unwrap();
        let (go, wait) = channel::<()>();
        uploader.run(move |_| wait.recv().unwrap()).unwrap();
        assert!(uploader.is_ready().unwrap());
        uploader.run(|_| ()).unwrap();
        assert!(!uploader.is_ready().unwrap());
        go.send(()).unwrap();
        until(|| uploader.is_ready().unwrap());
    }
}
