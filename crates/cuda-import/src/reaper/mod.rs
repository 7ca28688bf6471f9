//! Driver calls that may block, made in order on one thread per context.
//!
//! `cuMemFree`, `cuDestroyExternalSemaphore` and `cuCtxSynchronize` return only when no stream of
//! the context has an unfinished wait, no matter who enqueued it. Whether they would return
//! immediately cannot be determined beforehand, because no call queries all streams. A destructor
//! that made such a call itself could block forever because of another exchange's frame. Callers of
//! [`call`] wait for at most [`LIMIT`], and a blocked call in one context does not delay other
//! contexts.

mod worker;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::capture;
use crate::device::CudaDevice;
use crate::error::{Error, Object};
use crate::logging::log_warn;
use crate::reaper::worker::{Job, NotDone, Worker};
use crate::sys::{CallError, CallResult, Driver, TIMEOUT};

/// The maximum time that a caller waits. Once a call has taken this long, callers queued after it
/// no longer wait.
const LIMIT: Duration = Duration::from_secs(10);

/// The reason why an object was not freed.
pub(crate) enum NotFreed {
    /// The call of this name has not returned within the limit. It stays queued and completes when
    /// the driver unblocks it.
    Blocked(&'static str, Duration),
    /// The driver returned an error.
    Call(CallError),
}

impl NotFreed {
    /// Converts to the error of a driver call; a blocked call becomes `CUDA_ERROR_TIMEOUT`.
    pub(crate) fn into_call(self) -> CallError {
        match self {
            Self::Blocked(call, _) => CallError { call, code: TIMEOUT },
            Self::Call(error) => error,
        }
    }

    /// Adds the object of the call and its device.
    pub(crate) fn at(self, object: &Object<'_>, device: &str) -> Error {
        match self {
            Self::Blocked(_, waited) => {
                Error::FreeBlocked { object: object.to_string(), device: device.to_owned(), waited }
            }
            Self::Call(error) => error.at(object, device),
        }
    }
}

/// Runs `call`, which makes the driver call `name`, on the thread of the context of `device` with
/// that context current, and waits for it for at most [`LIMIT`]. The closure owns everything that
/// it uses, because it may run after the limit.
pub(crate) fn call(
    device: &CudaDevice,
    name: &'static str,
    call: impl FnOnce(Driver) -> CallResult<()> + Send + 'static,
) -> Result<(), NotFreed> {
    run(device, name, false, call)
}

/// Waits, like [`call`], until all work that is currently enqueued in the context has ended.
pub(crate) fn synchronize(device: &CudaDevice) -> Result<(), NotFreed> {
    run(device, "cuCtxSynchronize", true, Driver::synchronize_context)
}

fn run(
    device: &CudaDevice,
    name: &'static str,
    shared: bool,
    call: impl FnOnce(Driver) -> CallResult<()> + Send + 'static,
) -> Result<(), NotFreed> {
    // On a thread that captures, the driver refuses to free objects that the graph may use; on
    // another thread it would not, so the call is made on this thread.
    let inline = capture::is_active();
    let Some(mut worker) = (!inline).then(|| worker_of(device)).flatten() else {
        return device.bind().and_then(|_current| call(device.driver())).map_err(NotFreed::Call);
    };
    let owner = device.clone();
    // If the caller has chosen a capture mode that does not disturb other threads' captures, use it
    // for this call as well.
    let mode = device.driver().capture_mode();
    let bound = move || {
        let driver = owner.driver();
        let _mode = mode.map(|mode| driver.enter_capture_mode(mode));
        driver.bind_exclusive(owner.object()).and_then(|_current| call(driver))
    };
    // A shared call runs in the mode of the caller that queued it, so a call with its own mode is
    // not shared.
    let shared = shared && mode.is_none();
    let mut job = Some(Job { name, call: Box::new(bound), shared });
    loop {
        match worker.run(&mut job, LIMIT) {
            Ok(result) => return result.map_err(NotFreed::Call),
            Err(NotDone::TimedOut(waited)) => return Err(NotFreed::Blocked(name, waited)),
            Err(NotDone::Ended) => {}
        }
        unregister(&worker);
        match worker_of(device) {
            Some(next) => worker = next,
            None => return job.map_or(Ok(()), |job| (job.call)()).map_err(NotFreed::Call),
        }
    }
}

/// The worker of each context, by the context's handle, once one was needed.
static WORKERS: Mutex<Vec<(usize, Arc<Worker>)>> = Mutex::new(Vec::new());

fn workers() -> MutexGuard<'static, Vec<(usize, Arc<Worker>)>> {
    WORKERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the worker of the context of `device`, which is started at the first call. Returns
/// `None` on the worker's own thread, or if the thread did not start (logged once); the call is
/// then made inline.
fn worker_of(device: &CudaDevice) -> Option<Arc<Worker>> {
    let context = device.object().cu_ctx().addr();
    let mut workers = workers();
    if let Some((_, worker)) = workers.iter().find(|(of, _)| *of == context) {
        return (!worker.is_current()).then(|| Arc::clone(worker));
    }
    match Worker::start(unregister) {
        Ok(worker) => {
            workers.push((context, Arc::clone(&worker)));
            Some(worker)
        }
        Err(error) => {
            drop(workers);
            static WARNED: AtomicBool = AtomicBool::new(false);
            if !WARNED.swap(true, Ordering::Relaxed) {
                log_warn!("could not start the thread that frees CUDA objects ({error}): dropping them may block");
            }
            None
        }
    }
}

/// Removes a worker that has ended: the next call in its context starts another.
fn unregister(worker: &Arc<Worker>) {
    workers().retain(|(_, other)| !Arc::ptr_eq(other, worker));
}
