//! A gate that a test opens: work that the compute side enqueues after it does not run before the
//! test opens the gate, regardless of the machine's speed.
#![allow(unsafe_code, unreachable_pub, clippy::unwrap_used, reason = "enqueues a callback; a part of tests")]

use std::ffi::c_void;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use bridge::cuda_import::cudarc::driver::result::stream::launch_host_function;
use bridge::{Resources, Work};

/// A closed gate, which opens on drop.
///
/// While it is closed, the test must not make calls that wait for the GPU. With CUDA these include,
/// besides explicit waits, the first launch of a kernel, freeing memory, and copies from memory
/// that is not pinned.
#[must_use = "a gate that is dropped is open"]
pub struct Gate {
    #[allow(dead_code, reason = "its end is what it tells")]
    open: Sender<()>,
    stopped: Receiver<()>,
}

/// The compute side's half: reports that it has reached the gate, and waits until the sender is
/// dropped.
struct Closed {
    stops: Sender<()>,
    opened: Receiver<()>,
}

impl Closed {
    fn wait(self) {
        // The receiver may have been dropped.
        let _ = self.stops.send(());
        let _ = self.opened.recv();
    }
}

impl Gate {
    /// Makes work that the turn enqueues from now on wait for the gate.
    pub fn hold<R: Resources>(work: Work<'_, R>) -> Self {
        let ((open, opened), (stops, stopped)) = (channel::<()>(), channel());
        let closed = Closed { stops, opened };
        match work {
            Work::Host(host) => host.run(move |_: R::Host<'_>| closed.wait()).unwrap(),
            Work::Cuda(cuda) => {
                cuda.stream.context().bind_to_thread().unwrap();
                let closed = Box::into_raw(Box::new(closed));
                // SAFETY: a live stream, whose context is current; `wait` takes ownership of the
                // half.
                unsafe { launch_host_function(cuda.stream.cu_stream(), wait, closed.cast()) }.unwrap();
            }
            _ => panic!("no such compute side was asked for"),
        }
        Self { open, stopped }
    }

    /// Waits until the compute side has reached the gate, and so has completed all earlier work.
    #[allow(dead_code, reason = "not every program has to")]
    pub fn await_stop(&self, limit: Duration) {
        self.stopped.recv_timeout(limit).unwrap();
    }

    /// Opens the gate.
    pub fn open(self) {}
}

/// Waits for the gate. Calls no CUDA functions, which a callback must not do.
unsafe extern "C" fn wait(closed: *mut c_void) {
    // SAFETY: `hold` passes each half to one callback, which CUDA calls once.
    let closed = unsafe { Box::from_raw(closed.cast::<Closed>()) };
    closed.wait();
}
