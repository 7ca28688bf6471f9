//! A gate that a test opens: what the compute side enqueues behind it has not run before, however
//! fast or slow the machine is.
#![allow(unsafe_code, unreachable_pub, clippy::unwrap_used, reason = "enqueues a callback; a part of tests")]

use std::ffi::c_void;
use std::sync::mpsc::{Receiver, Sender, channel};

use bridge::cuda_import::cudarc::driver::result::stream::launch_host_function;
use bridge::{Resources, Work};

/// A closed gate. Dropping it opens it.
///
/// While it is closed nothing may be called that waits for the GPU. With CUDA those are, beyond
/// what says so, the first launch of a kernel, the free of memory, and copies from memory that is
/// not pinned.
#[must_use = "a gate that is dropped is open"]
pub struct Gate(#[allow(dead_code, reason = "its end is what it tells")] Sender<()>);

impl Gate {
    /// Lets what the work's turn enqueues from now on wait for the gate.
    pub fn hold<R: Resources>(work: Work<'_, R>) -> Self {
        let (open, closed) = channel::<()>();
        match work {
            Work::Host(host) => {
                let closed = move |_: R::Host<'_>| {
                    let _ = closed.recv();
                };
                host.run(closed).unwrap();
            }
            Work::Cuda(cuda) => {
                cuda.stream.context().bind_to_thread().unwrap();
                let closed = Box::into_raw(Box::new(closed));
                // SAFETY: a live stream, whose context is current; the receiver is `wait`'s.
                unsafe { launch_host_function(cuda.stream.cu_stream(), wait, closed.cast()) }.unwrap();
            }
            _ => panic!("no such compute side was asked for"),
        }
        Self(open)
    }

    /// Opens it.
    pub fn open(self) {}
}

/// Waits until the sender is dropped. It calls nothing of CUDA's, as a callback must not.
unsafe extern "C" fn wait(closed: *mut c_void) {
    // SAFETY: `hold` gives each receiver to one callback, which CUDA calls once.
    let closed = unsafe { Box::from_raw(closed.cast::<Receiver<()>>()) };
    let _ = closed.recv();
}
