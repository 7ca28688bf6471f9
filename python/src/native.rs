//! Calls of the drivers and the end of their objects: the interpreter is free meanwhile, captures
//! of other threads go on, and a forked child frees nothing.

// Calls CUDA, and drops by hand.
#![allow(unsafe_code)]

use std::mem::{ManuallyDrop, forget};
use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use bridge::cudarc::driver::sys;
use pyo3::prelude::*;

use crate::fork::Process;
use crate::logging;

/// A value whose drop calls a driver. A forked child never drops it: calls there hang or crash.
#[derive(Debug)]
pub(crate) struct Native<T> {
    value: ManuallyDrop<T>,
    process: Process,
}

impl<T> Native<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { value: ManuallyDrop::new(value), process: Process::current() }
    }

    /// The process in which it may be used.
    pub(crate) fn process(&self) -> Process {
        self.process
    }
}

impl<T> Deref for Native<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Native<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T> Drop for Native<T> {
    fn drop(&mut self) {
        if !self.process.is_child() {
            // SAFETY: nobody uses it after this drop, which alone drops it.
            unsafe { ManuallyDrop::drop(&mut self.value) };
        }
    }
}

/// A field of a Python object whose drop may wait. The interpreter is free meanwhile.
#[derive(Debug)]
pub(crate) struct Detached<T: Send>(ManuallyDrop<T>);

impl<T: Send> Detached<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(ManuallyDrop::new(value))
    }
}

impl<T: Send> Deref for Detached<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Send> Drop for Detached<T> {
    fn drop(&mut self) {
        // SAFETY: nobody uses the field after this drop, which alone takes it.
        let value = unsafe { ManuallyDrop::take(&mut self.0) };
        detached(move || drop(value));
    }
}

/// Runs calls of drivers, which may wait: detached from the interpreter, and without harm to a
/// capture. Then hands on what they logged.
///
/// # Errors
/// An interrupt in a handler of the log, such as Ctrl-C. The result is dropped, detached as well.
pub(crate) fn call<R: Send>(py: Python<'_>, f: impl FnOnce() -> R + Send) -> PyResult<R> {
    let result = quietly(py, f);
    match logging::deliver(py) {
        Ok(()) => Ok(result),
        Err(interrupt) => {
            quietly(py, || drop(result));
            Err(interrupt)
        }
    }
}

fn quietly<R: Send>(py: Python<'_>, f: impl FnOnce() -> R + Send) -> R {
    py.detach(|| {
        let _relaxed = Relaxed::enter();
        f()
    })
}

/// As [`call`], in the drop of a Python object, where no code of Python's may run: an exception may
/// be on its way. Where the interpreter has ended there is nobody to hold up.
pub(crate) fn detached(f: impl FnOnce() + Send) {
    let mut f = Some(f);
    if Python::try_attach(|py| quietly(py, || f.take().map(|f| f()))).is_none()
        && let Some(f) = f
    {
        f();
    }
}

/// While it lives, calls of this thread end no capture into a CUDA graph. Without it, allocating or
/// freeing anything is an error while another thread captures in the mode `global`, and spoils its
/// graph.
pub(crate) struct Relaxed {
    before: Option<sys::CUstreamCaptureMode>,
}

impl Relaxed {
    pub(crate) fn enter() -> Self {
        // SAFETY: opens the library if it is there.
        static PRESENT: LazyLock<bool> = LazyLock::new(|| unsafe { sys::is_culib_present() });
        // A forked child of the first process that came here calls no driver.
        static HOME: LazyLock<Process> = LazyLock::new(Process::current);
        let relaxed = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
        Self { before: if !HOME.is_child() && *PRESENT { exchange(relaxed) } else { None } }
    }
}

impl Drop for Relaxed {
    fn drop(&mut self) {
        if let Some(before) = self.before.take() {
            exchange(before);
        }
    }
}

/// The mode that was set before; `None` where the driver is not initialized, and nobody captures.
fn exchange(mut mode: sys::CUstreamCaptureMode) -> Option<sys::CUstreamCaptureMode> {
    // SAFETY: a mode of this frame, which is replaced.
    let code = unsafe { sys::cuThreadExchangeStreamCaptureMode(&raw mut mode) };
    (code == sys::CUresult::CUDA_SUCCESS).then_some(mode)
}

/// Threads of [`drop_later`].
struct Later {
    /// The process of the threads: a forked child has none of its parent's.
    process: Option<Process>,
    running: usize,
    /// No more are started.
    ended: bool,
}

static LATER: Mutex<Later> = Mutex::new(Later { process: None, running: 0, ended: false });
static ONE_LESS: Condvar = Condvar::new();

fn later() -> MutexGuard<'static, Later> {
    let mut later = LATER.lock().unwrap_or_else(PoisonError::into_inner);
    if later.process.is_none_or(Process::is_child) {
        *later = Later { process: Some(Process::current()), running: 0, ended: false };
    }
    later
}

/// Drops the value on a thread of its own: libraries give tensors back wherever they are, and while
/// their work is still running, and `cuMemFree` and slots wait for that.
pub(crate) fn drop_later<T: Send + 'static>(value: Native<T>) {
    if value.process.is_child() {
        return;
    }
    {
        let mut later = later();
        if later.ended {
            forget(value);
            return;
        }
        later.running += 1;
    }
    let job = Job { value, _running: Running };
    let started = thread::Builder::new().name("vkview-free".into()).spawn(move || {
        let _relaxed = Relaxed::enter();
        drop(job);
    });
    if let Err(error) = started {
        // The closure was dropped, and the value with it.
        log::warn!("memory of a tensor was freed without a thread of its own, since none can be started: {error}");
    }
}

/// Field order is drop order.
struct Job<T> {
    #[allow(dead_code, reason = "dropped, not read")]
    value: Native<T>,
    _running: Running,
}

struct Running;

impl Drop for Running {
    fn drop(&mut self) {
        later().running -= 1;
        ONE_LESS.notify_all();
    }
}

/// Waits for the threads of [`drop_later`], for at most `limit`: the drivers' libraries end with
/// the process, and no call of them may be under way then. What is given back from now on is freed
/// by the process's end.
pub(crate) fn end(limit: Duration) {
    let mut later = later();
    later.ended = true;
    let waited = ONE_LESS.wait_timeout_while(later, limit, |later| later.running > 0);
    let (later, _) = waited.unwrap_or_else(PoisonError::into_inner);
    if later.running > 0 {
        log::warn!("memory of {} tensors is not freed by the end of the process", later.running);
    }
}
