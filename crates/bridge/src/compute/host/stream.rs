//! A thread that runs enqueued work in order, like a CUDA stream.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use smallbox::space::S32;
use smallbox::{SmallBox, smallbox};

use super::sync::atomic::{AtomicBool, Ordering};
use super::sync::thread::{self, JoinHandle, ThreadId};
use super::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use crate::error::{Error, Result};
use crate::observe::frame_mutex::count_lock;
use crate::observe::log_error;

/// A queue of work for one CPU thread. Clones refer to the same queue.
#[derive(Clone)]
pub(crate) struct HostStream(Arc<Owner>);

/// Identity of a stream, which does not keep the stream alive.
#[derive(Debug, Clone)]
pub(crate) struct HostStreamId(Weak<Worker>);

/// Shared by the clones of a stream. Dropping the last clone stops the thread and waits for its
/// end.
///
/// Symptom: `vkDestroyDevice` never returns. Cause: NVIDIA's driver (seen with 580.159) deadlocks
/// if a thread that has used Vulkan exits while another thread destroys a device: the exiting
/// thread waits in its thread-exit handler for a lock that the other thread holds while it joins a
/// driver thread, which waits for that same handler. Solution: dropping this waits until the thread
/// has exited, so that the caller cannot destroy the device before. Remove when: no supported
/// driver has this deadlock.
struct Owner {
    shared: Arc<Worker>,
    worker: Option<JoinHandle<()>>,
}

struct Worker {
    state: Mutex<State>,
    /// The ID of the thread that runs the jobs.
    worker: OnceLock<ThreadId>,
    changed: Condvar,
    failed: AtomicBool,
}

struct State {
    jobs: VecDeque<Job>,
    /// Total number of enqueued jobs; `done` counts the completed ones.
    enqueued: u64,
    done: u64,
    stop: bool,
    failure: Option<String>,
}

/// Closures of up to 32 words are stored inline in the queue; larger ones are boxed.
type Closure = SmallBox<dyn FnMut() + Send, S32>;

/// A wait or a signal by the bridge itself.
type Step = SmallBox<dyn Fn() -> Result<()> + Send, S32>;

#[allow(clippy::large_enum_variant)] // Boxing the closure is what its inline storage avoids.
enum Job {
    Wait(Step),
    Run(Closure),
    Signal(Step),
}

/// Initial capacity of the queue.
const QUEUE_CAPACITY: usize = 256;

/// Limit on retrying a failed signal, for example when the driver is out of memory.
const SIGNAL_LIMIT: Duration = Duration::from_secs(2);

/// Limit on the wait for the thread when the last clone is dropped. A closure that runs longer is
/// not waited for.
const STOP_LIMIT: Duration = Duration::from_secs(5);

impl HostStream {
    pub(crate) fn new() -> Result<Self> {
        let shared = Arc::new(Worker {
            state: Mutex::new(State {
                jobs: VecDeque::with_capacity(QUEUE_CAPACITY),
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

    /// Returns `true` if the stream has this identity.
    pub(crate) fn has_id(&self, id: &HostStreamId) -> bool {
        std::ptr::eq(Arc::as_ptr(&self.0.shared), id.0.as_ptr())
    }

    /// Returns `true` if both are clones of the same stream.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Enqueues a wait. If the wait fails, the stream fails. Returns the position in the queue.
    pub(super) fn wait(&self, wait: impl Fn() -> Result<()> + Send + 'static) -> Result<u64> {
        let step: Step = smallbox!(wait);
        self.push(Job::Wait(step))
    }

    /// Enqueues a closure.
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

    /// Enqueues a signal after all earlier work. Returns the position in the queue.
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

    /// Returns `true` if the caller runs on the stream's thread, inside one of its closures.
    pub(crate) fn is_current(&self) -> bool {
        self.0.shared.is_current()
    }

    /// Waits until the work enqueued so far is done, for at most `limit`, and returns whether it
    /// is. Inside one of the stream's own closures it returns `false` immediately: that closure is
    /// part of the work.
    pub(crate) fn drain(&self, limit: Duration) -> bool {
        self.0.shared.drain(self.last_position(), limit)
    }

    /// Like [`drain`](Self::drain), for the work up to a position in the queue.
    pub(super) fn drain_to(&self, place: u64, limit: Duration) -> bool {
        self.0.shared.drain(place, limit)
    }

    /// Returns the position of the job that was enqueued last.
    pub(super) fn last_position(&self) -> u64 {
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
        count_lock();
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

    /// Runs one job. A panic of the job's closure or its captured values does not end the thread,
    /// since Vulkan waits for the signals of later jobs.
    fn execute(&self, job: Job) -> Result<(), String> {
        let failed = self.failed.load(Ordering::Acquire);
        match job {
            Job::Wait(_) if failed => Ok(()),
            Job::Wait(wait) => wait().map_err(|error| error.to_string()),
            Job::Run(closure) => catch_panic("a compute closure", move || {
                let mut closure = closure;
                if !failed {
                    closure();
                }
                // The captured values are dropped here, where their panic is caught too.
            }),
            // Signaled after a failure too. The contents of the frame are wrong then, which the
            // next call on the exchange reports, but Vulkan does not wait forever.
            Job::Signal(signal) => retry_signal("host compute thread", &*signal).map_err(|error| error.to_string()),
        }
    }

    fn fail(&self, reason: String) {
        self.lock().failure.get_or_insert_with(|| reason.clone());
        self.failed.store(true, Ordering::Release);
        log_error!("host compute thread: {reason}");
    }
}

/// Calls `signal`, and retries it for a while if it fails: Vulkan or CUDA waits for it, and nothing
/// signals in its place. `who` is logged.
pub(in crate::compute) fn retry_signal(who: &str, signal: &dyn Fn() -> Result<()>) -> Result<()> {
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
            // The last clone was dropped inside a job: the thread ends by itself after the job.
            return;
        }
        let end = self.shared.lock().enqueued;
        if self.shared.drain(end, STOP_LIMIT) {
            // Panics were caught inside the thread, so there is no error to handle here.
            let _ = worker.join();
        } else {
            log_error!("a compute closure still runs after {STOP_LIMIT:?}; its thread is not joined");
        }
    }
}

/// Calls user code, and returns an error with the message if it panics.
fn catch_panic(what: &str, call: impl FnOnce()) -> Result<(), String> {
    let Err(panic) = catch_unwind(AssertUnwindSafe(call)) else { return Ok(()) };
    let reason = format!("{what} panicked: {}", panic_text(panic.as_ref()));
    // Dropping the payload may panic too; the second payload is then leaked.
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
