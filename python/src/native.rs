//! Driver calls and the freeing of driver objects: the interpreter is released meanwhile, graph
//! captures of other threads are not affected, and a forked child frees nothing.

// CUDA calls and manual drops.
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

/// A value whose drop calls a driver. It is never dropped in a forked child, where driver calls
/// hang or crash.
#[derive(Debug)]
pub(crate) struct Native<T> {
    value: ManuallyDrop<T>,
    process: Process,
}

impl<T> Native<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { value: ManuallyDrop::new(value), process: Process::current() }
    }

    /// Returns the process in which the value may be used.
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
            // SAFETY: the value is not used after this drop, and dropped only here.
            unsafe { ManuallyDrop::drop(&mut self.value) };
        }
    }
}

/// A field of a Python object whose drop may wait. The interpreter is released during the drop.
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
        // SAFETY: the field is not used after this drop, and taken only here.
        let value = unsafe { ManuallyDrop::take(&mut self.0) };
        detached(move || drop(value));
    }
}

/// Runs driver calls, which may wait, detached from the interpreter and without affecting graph
/// captures. Then delivers their log records.
///
/// # Errors
/// An interrupt in a log handler, such as Ctrl-C. The result is then dropped, also detached.
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

/// Like [`call`], for the drop of a Python object, where no Python code may run because an
/// exception may be pending. If the interpreter has ended, calls `f` directly.
pub(crate) fn detached(f: impl FnOnce() + Send) {
    let mut f = Some(f);
    if Python::try_attach(|py| quietly(py, || f.take().map(|f| f()))).is_none()
        && let Some(f) = f
    {
        f();
    }
}

/// While this exists, driver calls of this thread do not affect captures of CUDA graphs. Without
/// it, allocating or freeing memory while another thread captures in the mode `global` is an error
/// and invalidates its graph.
pub(crate) struct Relaxed {
    before: Option<sys::CUstreamCaptureMode>,
}

impl Relaxed {
    pub(crate) fn enter() -> Self {
        // SAFETY: this only opens the library, if it exists.
        static PRESENT: LazyLock<bool> = LazyLock::new(|| unsafe { sys::is_culib_present() });
        // In a forked child of that process, no driver is called.
        let process = Process::of_drivers();
        let relaxed = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
        Self { before: if !process.is_child() && *PRESENT { exchange(relaxed) } else { None } }
    }
}

impl Drop for Relaxed {
    fn drop(&mut self) {
        if let Some(before) = self.before.take() {
            exchange(before);
        }
    }
}

/// Sets the mode, and returns the previous one; `None` if the driver is not initialized, in which
/// case nothing is captured.
fn exchange(mut mode: sys::CUstreamCaptureMode) -> Option<sys::CUstreamCaptureMode> {
    // SAFETY: the pointer is to a local variable, which receives the previous mode.
    let code = unsafe { sys::cuThreadExchangeStreamCaptureMode(&raw mut mode) };
    (code == sys::CUresult::CUDA_SUCCESS).then_some(mode)
}

/// State of the threads of [`drop_later`].
struct Later {
    /// The process of the threads, since a forked child does not have those of its parent.
    process: Option<Process>,
    running: usize,
    /// `true` if no more threads may be started.
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

/// Drops the value on a new thread: libraries release tensors on any thread, while their work may
/// still be running, and `cuMemFree` and slots wait for that work.
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
        // The closure was dropped, including the value.
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

/// Waits for the threads of [`drop_later`], for at most `limit`: no driver call may be in progress
/// when the drivers' libraries are unloaded at the end of the process. Memory that is released
/// later is freed by the end of the process.
pub(crate) fn end(limit: Duration) {
    let mut later = later();
    later.ended = true;
    let waited = ONE_LESS.wait_timeout_while(later, limit, |later| later.running > 0);
    let (later, _) = waited.unwrap_or_else(PoisonError::into_inner);
    if later.running > 0 {
        log::warn!("memory of {} tensors is not freed by the end of the process", later.running);
    }
}
