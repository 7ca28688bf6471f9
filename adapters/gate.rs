//! A gate that a test opens: what the compute side enqueues behind it has not run before, however
//! fast or slow the machine is.
#![allow(unsafe_code, unreachable_pub, clippy::unwrap_used, reason = "enqueues a callback; a part of tests")]

use std::ffi::c_void;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use bridge::cuda_import::cudarc::driver::result::stream::launch_host_function;
use bridge::{Resources, Work};

/// A closed gate. Dropping it opens it.
///
/// While it is closed nothing may be called that waits for the GPU. With CUDA those are, beyond
/// what says so, the first launch of a kernel, the free of memory, and copies from memory that is
/// not pinned.
#[must_use = "a gate that is dropped is open"]
pub struct Gate {
    #[allow(dead_code, reason = "its end is what it tells")]
    open: Sender<()>,
    stopped: Receiver<()>,
}

/// What the compute side has of it: tells that it stands, and waits for the end of the sender.
struct Closed {
    stops: Sender<()>,
    opened: Receiver<()>,
}

impl Closed {
    fn wait(self) {
        // Nobody may listen.
        let _ = self.stops.send(());
        let _ = self.opened.recv();
    }
}

impl Gate {
    /// Lets what the work's turn enqueues from now on wait for the gate.
    pub fn hold<R: Resources>(work: Work<'_, R>) -> Self {
        let ((open, opened), (stops, stopped)) = (channel::<()>(), channel());
        let closed = Closed { stops, opened };
        match work {
            Work::Host(host) => host.run(move |_: R::Host<'_>| closed.wait()).unwrap(),
            Work::Cuda(cuda) => {
                cuda.stream.context().bind_to_thread().unwrap();
                let closed = Box::into_raw(Box::new(closed));
                // SAFETY: a live stream, whose context is current; the half is `wait`'s.
                unsafe { launch_host_function(cuda.stream.cu_stream(), wait, closed.cast()) }.unwrap();
            }
            _ => panic!("no such compute side was asked for"),
        }
        Self { open, stopped }
    }

    /// Waits until the compute side stands before it, and has done all that was enqueued before.
    #[allow(dead_code, reason = "not every program has to")]
    pub fn await_stop(&self, limit: Duration) {
        self.stopped.recv_timeout(limit).unwrap();
    }

    /// Opens it.
    pub fn open(self) {}
}

/// Waits for the gate. It calls nothing of CUDA's, as a callback must not.
unsafe extern "C" fn wait(closed: *mut c_void) {
    // SAFETY: `hold` gives each half to one callback, which CUDA calls once.
    let closed = unsafe { Box::from_raw(closed.cast::<Closed>()) };
    closed.wait();
}
