//! Work that does not end before the test allows it: streams wait for a host function, which waits
//! for the test.

use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use cuda_import::cudarc::driver::{CudaStream, result};

/// A latch that a stream waits for until it is opened. Dropping it opens it.
#[derive(Default)]
pub(crate) struct Latch(Arc<(Mutex<bool>, Condvar)>);

impl Latch {
    /// Makes work that is enqueued on `stream` from now on wait. While the latch is closed, the
    /// test must not make calls that wait for the stream, such as copies from or to memory that is
    /// not pinned.
    pub(crate) fn hold(&self, stream: &CudaStream) {
        unsafe extern "C" fn wait(latch: *mut c_void) {
            // SAFETY: `hold` leaked a reference, which this function owns.
            let latch = unsafe { Arc::from_raw(latch.cast::<(Mutex<bool>, Condvar)>()) };
            let mut open = latch.0.lock().unwrap_or_else(PoisonError::into_inner);
            while !*open {
                open = latch.1.wait(open).unwrap_or_else(PoisonError::into_inner);
            }
        }
        stream.context().bind_to_thread().unwrap();
        let latch = Arc::into_raw(Arc::clone(&self.0)).cast_mut().cast();
        // SAFETY: the function makes no CUDA calls, and its argument is a reference that it owns.
        unsafe { result::stream::launch_host_function(stream.cu_stream(), wait, latch) }.unwrap();
    }

    pub(crate) fn open(&self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.1.notify_all();
    }

    /// Runs `work`, which must wait for the latch, while another thread opens it once this thread
    /// waits. Fails if `work` returns without having waited; see [`waits_here`] for systems other
    /// than Linux.
    pub(crate) fn opened_during<T>(&self, work: impl FnOnce() -> T) -> T {
        let (opened, ended) = (AtomicBool::new(false), AtomicBool::new(false));
        let waits = waits_here();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let waited = waits(&ended);
                opened.store(waited, Ordering::Release);
                self.open();
            });
            let result = work();
            assert!(opened.load(Ordering::Acquire), "it did not wait for the stream");
            ended.store(true, Ordering::Release);
            result
        })
    }
}

/// Returns a function that waits until the calling thread of this one waits, and returns `true`, or
/// has `ended`.
#[cfg(target_os = "linux")]
fn waits_here() -> impl FnOnce(&AtomicBool) -> bool + Send {
    /// Work that does not wait runs for less than this.
    const BUSY: Duration = Duration::from_millis(200);
    let task = test_support::Task::current();
    move |ended| task.wait_until_it_waits(|| ended.load(Ordering::Acquire), BUSY)
}

/// The state of a thread is read on Linux only. Elsewhere, this returns `true` after 30 ms, whether
/// or not the thread waits: work that does not wait fails the test only if it returns earlier. Work
/// that waits passes regardless of how long this takes.
#[cfg(not(target_os = "linux"))]
fn waits_here() -> impl FnOnce(&AtomicBool) -> bool + Send {
    |_| {
        std::thread::sleep(Duration::from_millis(30));
        true
    }
}

impl Drop for Latch {
    fn drop(&mut self) {
        self.open();
    }
}
