//! One thread that works through its queue in order, like a CUDA stream.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use smallbox::space::S32;
use smallbox::{SmallBox, smallbox};

use super::sync::atomic::{AtomicBool, Ordering};
use super::sync::thread::{self, JoinHandle, ThreadId};
use super::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use crate::error::{Error, Result};
use crate::observe::log_error;

/// A queue of work for one CPU thread. Clones refer to the same queue.
#[derive(Clone)]
pub(crate) struct HostStream(Arc<Owner>);

/// Tells a stream from others, and keeps nothing of it.
#[derive(Debug, Clone)]
pub(crate) struct HostStreamId(Weak<Worker>);

/// The last clone stops the thread and waits for its end.
///
/// Symptom: `vkDestroyDevice` never returns. Cause: NVIDIA's driver (seen with 580.159) deadlocks
/// when a thread that has used Vulkan exits while another destroys a device: the one waits inside
/// its thread-exit handler for a lock that the other holds while it joins a thread of the driver's,
/// which waits for that same handler. Solution: the thread has exited before whoever drops this can
/// go on to destroy the device. Remove when: no supported driver does so.
struct Owner {
    shared: Arc<Worker>,
    worker: Option<JoinHandle<()>>,
}

struct Worker {
    state: Mutex<State>,
    /// The thread that works through the queue.
    worker: OnceLock<ThreadId>,
    changed: Condvar,
    failed: AtomicBool,
}

struct State {
    jobs: VecDeque<Job>,
    /// Jobs that were ever enqueued, and those of them that are done.
    enqueued: u64,
    done: u64,
    stop: bool,
    failure: Option<String>,
}

/// Closures of up to 32 words live in the queue itself; larger ones are boxed.
type Closure = SmallBox<dyn FnMut() + Send, S32>;

/// The bridge's own part of the work: a wait or a signal.
type Step = SmallBox<dyn Fn() -> Result<()> + Send, S32>;

#[allow(clippy::large_enum_variant)] // Boxing the closure is what its inline storage avoids.
enum Job {
    Wait(Step),
    Run(Closure),
    Signal(Step),
}

/// Jobs that fit before the queue grows.
const QUEUE: usize = 256;

/// Limit on retrying a failed signal, for example when the driver is out of memory.
const SIGNAL_LIMIT: Duration = Duration::from_secs(2);

/// Limit on the wait for the thread when the last clone is dropped; a closure that runs on is left
/// alone.
const STOP_LIMIT: Duration = Duration::from_secs(5);

impl HostStream {
    pub(crate) fn new() -> Result<Self> {
        let shared = Arc::new(Worker {
            state: Mutex::new(State {
                jobs: VecDeque::with_capacity(QUEUE),
                enqueued: 0,
                done: 0,
                stop: false,
                failure: None,
            }),
            worker: OnceLock::new(),
            changed: Condvar::new(),
            failed: AtomicBool::new(false),
        });
        let worker = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("bridge-host".into())
            .spawn(move || worker.work())
            .map_err(|error| Error::HostFailed { reason: format!("its thread did not start: {error}") })?;
        let _ = shared.worker.set(thread.thread().id());
        Ok(Self(Arc::new(Owner { shared, worker: Some(thread) })))
    }

    pub(crate) fn id(&self) -> HostStreamId {
        HostStreamId(Arc::downgrade(&self.0.shared))
    }

    /// Returns `true` if it has this identity.
    pub(crate) fn has_id(&self, id: &HostStreamId) -> bool {
        std::ptr::eq(Arc::as_ptr(&self.0.shared), id.0.as_ptr())
    }

    /// Returns `true` if both are the same queue.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Lets the thread wait; where that fails, so does the stream. Returns the place in the queue.
    pub(super) fn wait(&self, wait: impl Fn() -> Result<()> + Send + 'static) -> Result<u64> {
        let step: Step = smallbox!(wait);
        self.push(Job::Wait(step))
    }

    /// Lets the thread run a closure.
    pub(crate) fn run(&self, work: impl FnOnce() + Send + 'static) -> Result<()> {
        let mut work = Some(work);
        let once = move || {
            if let Some(work) = work.take() {
                work();
            }
        };
        let closure: Closure = smallbox!(once);
        self.push(Job::Run(closure)).map(|_| ())
    }

    /// Lets the thread signal, after all work before. Returns the place in the queue.
    pub(super) fn signal(&self, signal: impl Fn() -> Result<()> + Send + 'static) -> Result<u64> {
        let step: Step = smallbox!(signal);
        self.push(Job::Signal(step))
    }

    /// Checks that the stream still works.
    pub(crate) fn ensure_alive(&self) -> Result<()> {
        if self.0.shared.failed.load(Ordering::Acquire) {
            let reason = self.0.shared.lock().failure.clone().unwrap_or_default();
            return Err(Error::HostFailed { reason });
        }
        Ok(())
    }

    /// Returns `true` if the caller runs on the stream's own thread, inside one of its closures.
    pub(crate) fn is_current(&self) -> bool {
        self.0.shared.is_current()
    }

    /// Waits until the work that is enqueued now is done, for at most `limit`, and returns whether
    /// it is. Inside one of the stream's own closures it returns `false` at once: that closure is
    /// part of the work.
    pub(crate) fn drain(&self, limit: Duration) -> bool {
        self.0.shared.drain(self.end(), limit)
    }

    /// The same for the work up to a place in the queue.
    pub(super) fn drain_to(&self, place: u64, limit: Duration) -> bool {
        self.0.shared.drain(place, limit)
    }

    /// The place of what was enqueued last.
    pub(super) fn end(&self) -> u64 {
        self.0.shared.lock().enqueued
    }

    fn push(&self, job: Job) -> Result<u64> {
        self.ensure_alive()?;
        let mut state = self.0.shared.lock();
        state.jobs.push_back(job);
        state.enqueued += 1;
        let place = state.enqueued;
        drop(state);
        self.0.shared.changed.notify_all();
        Ok(place)
    }
}

impl Worker {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_current(&self) -> bool {
        self.worker.get() == Some(&thread::current().id())
    }

    fn drain(&self, end: u64, limit: Duration) -> bool {
        if self.is_current() {
            return false;
        }
        let start = Instant::now();
        let mut state = self.lock();
        while state.done < end {
            let Some(left) = limit.checked_sub(start.elapsed()) else { return false };
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn work(&self) {
        loop {
            let mut state = self.lock();
            let job = loop {
                if let Some(job) = state.jobs.pop_front() {
                    break job;
                }
                if state.stop {
                    return;
                }
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            };
            drop(state);
            if let Err(reason) = self.execute(job) {
                self.fail(reason);
            }
            self.lock().done += 1;
            self.changed.notify_all();
        }
    }

    /// Runs one job. Whatever the job's closure or its captured values do, the thread goes on with
    /// the next: Vulkan waits for the signals behind it.
    fn execute(&self, job: Job) -> Result<(), String> {
        let failed = self.failed.load(Ordering::Acquire);
        match job {
            Job::Wait(_) if failed => Ok(()),
            Job::Wait(wait) => wait().map_err(|error| error.to_string()),
            Job::Run(closure) => catching("a compute closure", move || {
                let mut closure = closure;
                if !failed {
                    closure();
                }
                // The captured values are dropped here, where their panic is caught too.
            }),
            // Signaled after a failure too: the frame's contents are wrong then, which the next
            // call on the exchange says, but Vulkan is not left waiting forever.
            Job::Signal(signal) => persistently("host compute thread", &*signal).map_err(|error| error.to_string()),
        }
    }

    fn fail(&self, reason: String) {
        self.lock().failure.get_or_insert_with(|| reason.clone());
        self.failed.store(true, Ordering::Release);
        log_error!("host compute thread: {reason}");
    }
}

/// Signals, and tries again for a while where that fails: somebody waits for it, and nobody else
/// signals in its place. `who` stands in the log.
pub(in crate::compute) fn persistently(who: &str, signal: &dyn Fn() -> Result<()>) -> Result<()> {
    let (start, mut pause) = (Instant::now(), Duration::from_millis(1));
    loop {
        match signal() {
            Err(error) if !error.is_device_lost() && start.elapsed() < SIGNAL_LIMIT => {
                log_error!("{who}: tried again in {pause:?}: {error}");
                thread::sleep(pause);
                pause *= 2;
            }
            result => return result,
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify_all();
        let Some(worker) = self.worker.take() else { return };
        if self.shared.is_current() {
            // The last clone went inside a job: the thread ends by itself after it.
            return;
        }
        let end = self.shared.lock().enqueued;
        if self.shared.drain(end, STOP_LIMIT) {
            // A panic was caught where it happened, there is none to hear of here.
            let _ = worker.join();
        } else {
            log_error!("a compute closure still runs after {STOP_LIMIT:?}; its thread is left to end by itself");
        }
    }
}

/// Calls user code and turns a panic into the reason of a failure.
fn catching(what: &str, call: impl FnOnce()) -> Result<(), String> {
    let Err(panic) = catch_unwind(AssertUnwindSafe(call)) else { return Ok(()) };
    let reason = format!("{what} panicked: {}", panic_text(panic.as_ref()));
    // A payload may panic in turn when it is dropped; then it is leaked.
    if let Err(second) = catch_unwind(AssertUnwindSafe(move || drop(panic))) {
        std::mem::forget(second);
    }
    Err(reason)
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
