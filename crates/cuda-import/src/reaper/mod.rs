//! Driver calls that may block, made in order on a thread of their context's own.
//!
//! `cuMemFree`, `cuDestroyExternalSemaphore` and `cuCtxSynchronize` return only when no stream of
//! the context has an unfinished wait, whoever enqueued it. That they would return at once cannot
//! be known beforehand: no call asks for all streams. A destructor that made such a call itself
//! could block forever behind another exchange's frame. Callers of [`call`] wait for at most
//! [`LIMIT`], and what blocks in one context holds up no other.

mod worker;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::device::CudaDevice;
use crate::error::{Error, Object};
use crate::logging::log_warn;
use crate::reaper::worker::{Job, NotDone, Worker};
use crate::stream::capture;
use crate::sys::{CallError, CallResult, Driver, TIMEOUT};

/// Limit on how long a caller waits. Once one call has taken this long, callers behind it no longer
/// wait.
const LIMIT: Duration = Duration::from_secs(10);

/// Why an object was not freed.
pub(crate) enum NotFreed {
    /// The call of this name has not returned within the limit. It stays queued and completes when
    /// the driver lets it.
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

    /// Says which object the call was about, and where.
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
/// that context current, and waits for it for at most [`LIMIT`]. The closure owns what it uses,
/// since it still runs after the limit.
pub(crate) fn call(
    device: &CudaDevice,
    name: &'static str,
    call: impl FnOnce(Driver) -> CallResult<()> + Send + 'static,
) -> Result<(), NotFreed> {
    run(device, name, false, call)
}

/// Waits, as [`call`] does, until all work of the context that is enqueued now has ended.
pub(crate) fn synchronize(device: &CudaDevice) -> Result<(), NotFreed> {
    run(device, "cuCtxSynchronize", true, Driver::synchronize_context)
}

fn run(
    device: &CudaDevice,
    name: &'static str,
    shared: bool,
    call: impl FnOnce(Driver) -> CallResult<()> + Send + 'static,
) -> Result<(), NotFreed> {
    // On a thread that captures the driver refuses to free what the graph may use; on another one
    // it would not.
    let inline = capture::is_active();
    let Some(mut worker) = (!inline).then(|| worker_of(device)).flatten() else {
        return device.bind().and_then(|_current| call(device.driver())).map_err(NotFreed::Call);
    };
    let owner = device.clone();
    // A caller that has chosen to disturb no capture of other threads has chosen it for this call.
    let mode = device.driver().capture_mode();
    let bound = move || {
        let driver = owner.driver();
        let _mode = mode.map(|mode| driver.enter_capture_mode(mode));
        driver.bind_alone(owner.object()).and_then(|_current| call(driver))
    };
    // One that another caller's stands for is made in that caller's mode.
    let shared = shared && mode.is_none();
    let mut job = Some(Job { name, call: Box::new(bound), shared });
    loop {
        match worker.run(&mut job, LIMIT) {
            Ok(result) => return result.map_err(NotFreed::Call),
            Err(NotDone::Waited(waited)) => return Err(NotFreed::Blocked(name, waited)),
            Err(NotDone::Ended) => {}
        }
        forget(&worker);
        match worker_of(device) {
            Some(next) => worker = next,
            None => {
                // The call leaves no context current, which is right on a thread of our own only.
                let _caller = device.driver().keep_current();
                return job.map_or(Ok(()), |job| (job.call)()).map_err(NotFreed::Call);
            }
        }
    }
}

/// Worker of each context, by its handle, while there is something to free in it.
static WORKERS: Mutex<Vec<(usize, Arc<Worker>)>> = Mutex::new(Vec::new());

fn workers() -> MutexGuard<'static, Vec<(usize, Arc<Worker>)>> {
    WORKERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The worker of the context of `device`, started when first asked for. `None`, so that the call is
/// made inline, if its thread did not start (logged once), and on its own thread.
fn worker_of(device: &CudaDevice) -> Option<Arc<Worker>> {
    let context = device.object().cu_ctx().addr();
    let mut workers = workers();
    if let Some((_, worker)) = workers.iter().find(|(of, _)| *of == context) {
        return (!worker.is_current()).then(|| Arc::clone(worker));
    }
    match Worker::start(forget) {
        Ok(worker) => {
            workers.push((context, Arc::clone(&worker)));
            Some(worker)
        }
        Err(error) => {
            drop(workers);
            static SAID: AtomicBool = AtomicBool::new(false);
            if !SAID.swap(true, Ordering::Relaxed) {
                log_warn!("could not start the thread that frees CUDA objects ({error}): dropping them may block");
            }
            None
        }
    }
}

/// It has ended: the next call of its context starts another.
fn forget(worker: &Arc<Worker>) {
    workers().retain(|(_, other)| !Arc::ptr_eq(other, worker));
}
