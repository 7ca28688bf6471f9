//! Driver calls that may block, made in order on one dedicated thread.
//!
//! `cuMemFree`, `cuDestroyExternalSemaphore` and `cuCtxSynchronize` return only when no stream of the context has an unfinished
//! wait, whoever enqueued it. A destructor that made such a call itself could block forever behind another exchange's frame.
//! Callers of [`call`] wait for at most [`LIMIT`].

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::device::CudaDevice;
use crate::error::{Error, Object};
use crate::logging::isolated;
use crate::stream::capture;
use crate::sys::{CallError, CallResult, Driver, TIMEOUT};

/// How long a caller waits. Once one call has taken this long, callers behind it no longer wait.
const LIMIT: Duration = Duration::from_secs(10);

/// Why an object was not freed.
pub(crate) enum NotFreed {
    /// The call has not returned within the limit. It stays queued and completes when the driver lets it.
    Blocked(Duration),
    /// The driver returned an error.
    Call(CallError),
}

impl NotFreed {
    /// Converts to the error of a driver call; a blocked call becomes `CUDA_ERROR_TIMEOUT`.
    pub(crate) fn into_call(self) -> CallError {
        match self {
            Self::Blocked(_) => CallError { call: "cuCtxSynchronize", code: TIMEOUT },
            Self::Call(error) => error,
        }
    }

    /// Says which object the call was about, and where.
    pub(crate) fn at(self, object: &Object<'_>, device: &str) -> Error {
        match self {
            Self::Blocked(waited) => {
                Error::FreeBlocked { object: object.to_string(), device: device.to_owned(), waited }
            }
            Self::Call(error) => error.at(object, device),
        }
    }
}

/// Runs `call` on the reaper's thread with the context of `device` current, and waits for it for at most [`LIMIT`]. The closure
/// owns what it uses, since it still runs after the limit.
pub(crate) fn call(
    device: &CudaDevice,
    call: impl FnOnce(Driver) -> CallResult<()> + Send + 'static,
) -> Result<(), NotFreed> {
    let Some(reaper) = reaper() else {
        return device.bind().and_then(|_current| call(device.driver())).map_err(NotFreed::Call);
    };
    let owner = device.clone();
    let bound = move || {
        let driver = owner.driver();
        driver.bind_alone(owner.context()).and_then(|_current| call(driver))
    };
    match reaper.run(Box::new(bound), LIMIT) {
        Ok(result) => result.map_err(NotFreed::Call),
        Err(waited) => Err(NotFreed::Blocked(waited)),
    }
}

/// The process-wide reaper. `None`, so that the call is made inline, if its thread did not start (logged once), on its own
/// thread, and on a thread that captures a graph.
fn reaper() -> Option<&'static Arc<Reaper>> {
    static REAPER: OnceLock<Option<Arc<Reaper>>> = OnceLock::new();
    let mut failure = None;
    let reaper = REAPER.get_or_init(|| Reaper::start().map_err(|error| failure = Some(error)).ok());
    // Not while others wait for the cell, this thread among them should its logger free something.
    if let Some(error) = failure {
        isolated(|| log::warn!("the thread that frees CUDA objects did not start ({error}): destructors may block"));
    }
    // On a thread that captures the driver refuses to free what the graph may use; on another one it would not.
    let here = capture::is_active() || reaper.as_ref().is_some_and(|reaper| reaper.is_current());
    reaper.as_ref().filter(|_| !here)
}

type Call = Box<dyn FnOnce() -> CallResult<()> + Send>;

/// One thread with a queue. It lives as long as the process.
#[derive(Default)]
struct Reaper {
    queue: Mutex<Queue>,
    changed: Condvar,
    thread: OnceLock<thread::ThreadId>,
}

#[derive(Default)]
struct Queue {
    calls: VecDeque<(Call, Arc<Ticket>)>,
    /// When the call that is being made began.
    began: Option<Instant>,
}

/// Where the result of one call goes.
type Ticket = Mutex<Option<CallResult<()>>>;

impl Reaper {
    fn start() -> std::io::Result<Arc<Self>> {
        let reaper = Arc::new(Self::default());
        let worker = Arc::clone(&reaper);
        let thread = thread::Builder::new().name("cuda-import-free".into()).spawn(move || worker.work())?;
        let _ = reaper.thread.set(thread.thread().id());
        Ok(reaper)
    }

    fn is_current(&self) -> bool {
        self.thread.get() == Some(&thread::current().id())
    }

    /// The result of `call`, or how long it was waited for.
    fn run(&self, call: Call, limit: Duration) -> Result<CallResult<()>, Duration> {
        let (start, ticket) = (Instant::now(), Arc::new(Ticket::default()));
        let mut queue = self.queue();
        queue.calls.push_back((call, Arc::clone(&ticket)));
        self.changed.notify_all();
        loop {
            if let Some(result) = ticket.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return Ok(result);
            }
            // The call in front may be this one: both limits count.
            let since = queue.began.map_or(start, |began| began.min(start));
            let Some(left) = limit.checked_sub(since.elapsed()) else { return Err(start.elapsed()) };
            queue = self.changed.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn work(&self) {
        let mut queue = self.queue();
        loop {
            let Some((call, ticket)) = queue.calls.pop_front() else {
                queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            queue.began = Some(Instant::now());
            drop(queue);
            let result = call();
            *ticket.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
            queue = self.queue();
            queue.began = None;
            self.changed.notify_all();
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing under this lock can leave the queue half changed.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(20);

    #[test]
    fn the_result_is_that_of_the_call() {
        let reaper = Reaper::start().unwrap();
        let error = CallError { call: "cuMemFree", code: 1 };
        assert_eq!(reaper.run(Box::new(|| Ok(())), LONG), Ok(Ok(())));
        assert_eq!(reaper.run(Box::new(move || Err(error)), LONG), Ok(Err(error)));
    }

    #[test]
    fn a_blocked_call_is_given_up_and_made_all_the_same() {
        let reaper = Reaper::start().unwrap();
        let (open, gate) = mpsc::channel::<()>();
        let (made, calls) = mpsc::channel();
        let first = made.clone();
        let blocked = move || {
            gate.recv().unwrap();
            first.send(1).unwrap();
            Ok(())
        };
        let waited = reaper.run(Box::new(blocked), SHORT).unwrap_err();
        assert!(waited >= SHORT);
        // What is behind it is not waited for.
        let behind = move || {
            made.send(2).unwrap();
            Ok(())
        };
        let start = Instant::now();
        assert!(reaper.run(Box::new(behind), SHORT).is_err());
        assert!(start.elapsed() < LONG / 2);
        assert_eq!(calls.try_recv(), Err(mpsc::TryRecvError::Empty), "nothing returned so far");
        open.send(()).unwrap();
        assert_eq!(calls.iter().collect::<Vec<_>>(), [1, 2], "both were made, in order");
        assert_eq!(reaper.run(Box::new(|| Ok(())), LONG), Ok(Ok(())), "and the next is waited for again");
    }

    #[test]
    fn calls_of_several_threads_have_their_own_results() {
        let reaper = Reaper::start().unwrap();
        thread::scope(|scope| {
            for code in 0..8 {
                let reaper = &reaper;
                scope.spawn(move || {
                    for _ in 0..200 {
                        let error = CallError { call: "cuMemFree", code };
                        assert_eq!(reaper.run(Box::new(move || Err(error)), LONG), Ok(Err(error)));
                    }
                });
            }
        });
    }
}
