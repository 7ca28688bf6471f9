//! Work that does not end before the test says so: streams wait for a host function, and that for
//! the test.

use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use cuda_import::cudarc::driver::{CudaStream, result};

/// Latch that a stream waits for until it is opened. Dropping it opens it.
#[derive(Default)]
pub(crate) struct Latch(Arc<(Mutex<bool>, Condvar)>);

impl Latch {
    /// Lets what is enqueued on `stream` from now on wait. While it is closed, nothing may be
    /// called that waits for the stream, such as a copy from or to memory that is not pinned.
    pub(crate) fn hold(&self, stream: &CudaStream) {
        unsafe extern "C" fn wait(latch: *mut c_void) {
            // SAFETY: `hold` gave up a reference, which this takes over.
            let latch = unsafe { Arc::from_raw(latch.cast::<(Mutex<bool>, Condvar)>()) };
            let mut open = latch.0.lock().unwrap_or_else(PoisonError::into_inner);
            while !*open {
                open = latch.1.wait(open).unwrap_or_else(PoisonError::into_inner);
            }
        }
        stream.context().bind_to_thread().unwrap();
        let latch = Arc::into_raw(Arc::clone(&self.0)).cast_mut().cast();
        // SAFETY: the function makes no CUDA calls, and its argument is a reference of its own.
        unsafe { result::stream::launch_host_function(stream.cu_stream(), wait, latch) }.unwrap();
    }

    pub(crate) fn open(&self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.1.notify_all();
    }

    /// Runs `work`, which is to wait for the latch, while another thread opens it.
    pub(crate) fn opened_during<T>(&self, work: impl FnOnce() -> T) -> T {
        let opened = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Time for work that does not wait to be seen; what waits passes however long this
                // takes.
                std::thread::sleep(Duration::from_millis(30));
                opened.store(true, Ordering::Release);
                self.open();
            });
            let result = work();
            assert!(opened.load(Ordering::Acquire), "it did not wait for the stream");
            result
        })
    }
}

impl Drop for Latch {
    fn drop(&mut self) {
        self.open();
    }
}
