//! A thread with a queue of driver calls, and how callers wait for the results.
//!
//! Waking a thread takes the system tens of microseconds, more than some of the calls. So both
//! sides poll for a while before they sleep: a caller for its result, the thread for another call.
//! Objects that are freed in a row, such as all resources of an exchange, wake the thread once.

use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::logging::log_error;
use crate::sys::{CallError, CallResult, UNKNOWN};

/// The time that the thread polls for another call before it sleeps.
const POLL_TIME: Duration = Duration::from_micros(50);

/// The time that a caller polls without yielding the processor: about the time of a hand-over to
/// the thread.
const SPIN: Duration = Duration::from_micros(10);

/// The time that a caller polls with yielding, before it sleeps. Calls that do not block take less.
const YIELD: Duration = Duration::from_micros(500);

/// The time that the thread sleeps before it ends.
const IDLE: Duration = Duration::from_secs(1);

/// A closure for the thread that makes one or several driver calls.
pub(super) struct Job {
    /// The name of the driver call that may block, for errors.
    pub(super) name: &'static str,
    pub(super) call: Box<dyn FnOnce() -> CallResult<()> + Send>,
    /// Whether one queued job may serve all callers that ask for the same call. A job that has not
    /// started yet covers everything that they did before.
    pub(super) shared: bool,
}

/// The result of a job, once it is done.
type Ticket = OnceLock<CallResult<()>>;

/// A thread with a queue, for one context. The thread ends after [`IDLE`] without a job.
#[derive(Default)]
pub(super) struct Worker {
    queue: Mutex<Queue>,
    /// The number of jobs in the queue, readable without the lock.
    queued: AtomicUsize,
    job_queued: Condvar,
    job_done: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<(Job, Arc<Ticket>)>,
    /// The start time of the current call.
    began: Option<Instant>,
    /// `true` if the thread sleeps.
    asleep: bool,
    /// The number of callers that sleep.
    waiting: usize,
    /// Whether the thread has ended, or will end without checking the queue again.
    ended: bool,
}

/// The reason why a job was not done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotDone {
    /// The job has not completed after this time. It will still be done.
    TimedOut(Duration),
    /// The thread has ended, and the job was not queued.
    Ended,
}

thread_local! {
    /// The address of the worker that this thread belongs to.
    static CURRENT: Cell<usize> = const { Cell::new(0) };
}

impl Worker {
    /// Starts a worker. Its thread calls `ended` when it ends.
    pub(super) fn start(ended: impl FnOnce(&Arc<Self>) + Send + 'static) -> std::io::Result<Arc<Self>> {
        let worker = Arc::new(Self::default());
        let this = Arc::clone(&worker);
        let work = move || {
            CURRENT.set(this.address());
            this.work();
            ended(&this);
        };
        thread::Builder::new().name("cuda-import-free".into()).spawn(work)?;
        Ok(worker)
    }

    /// Returns `true` if the caller runs on the worker's thread.
    pub(super) fn is_current(&self) -> bool {
        CURRENT.get() == self.address()
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Queues `job` and returns its result. Waits until the job, or the job that runs before it,
    /// has taken as long as `limit`.
    pub(super) fn run(&self, job: &mut Option<Job>, limit: Duration) -> Result<CallResult<()>, NotDone> {
        let start = Instant::now();
        let ticket = self.enqueue(job)?;
        while start.elapsed() < YIELD.min(limit) {
            if let Some(result) = ticket.get() {
                return Ok(*result);
            }
            if start.elapsed() < SPIN { std::hint::spin_loop() } else { thread::yield_now() }
        }
        let mut queue = self.queue();
        loop {
            // The result is set before the thread takes the lock to notify, so no notification is
            // missed.
            if let Some(result) = ticket.get() {
                return Ok(*result);
            }
            // The current call may be this job: both limits apply.
            let since = queue.began.map_or(start, |began| began.min(start));
            let Some(left) = limit.checked_sub(since.elapsed()) else { return Err(NotDone::TimedOut(start.elapsed())) };
            queue.waiting += 1;
            queue = self.job_done.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
            queue.waiting -= 1;
        }
    }

    /// Queues the job, unless a queued job covers it or the thread has ended.
    fn enqueue(&self, job: &mut Option<Job>) -> Result<Arc<Ticket>, NotDone> {
        let mut queue = self.queue();
        if queue.ended {
            return Err(NotDone::Ended);
        }
        let same = |asked: &Job| {
            let same = |(other, _): &&(Job, _)| asked.shared && other.shared && other.name == asked.name;
            queue.jobs.iter().find(same).map(|(_, ticket)| Arc::clone(ticket))
        };
        if let Some(ticket) = job.as_ref().and_then(same) {
            return Ok(ticket);
        }
        let asked = job.take().ok_or(NotDone::Ended)?;
        let ticket = Arc::new(Ticket::new());
        queue.jobs.push_back((asked, Arc::clone(&ticket)));
        self.queued.fetch_add(1, Ordering::Release);
        let asleep = std::mem::take(&mut queue.asleep);
        drop(queue);
        if asleep {
            self.job_queued.notify_one();
        }
        Ok(ticket)
    }

    fn work(&self) {
        while let Some((job, ticket)) = self.next() {
            let Job { name, call, .. } = job;
            let result = catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
                // Dropping the payload may panic as well.
                std::mem::forget(panic);
                log_error!("{name} panicked on the thread that frees CUDA objects; the thread continues");
                Err(CallError { call: name, code: UNKNOWN })
            });
            let _ = ticket.set(result);
            let mut queue = self.queue();
            queue.began = None;
            let waiting = queue.waiting > 0;
            drop(queue);
            if waiting {
                self.job_done.notify_all();
            }
        }
    }

    /// Returns the next job, or `None` after [`IDLE`] without a job.
    fn next(&self) -> Option<(Job, Arc<Ticket>)> {
        let since = Instant::now();
        while self.queued.load(Ordering::Acquire) == 0 && since.elapsed() < POLL_TIME {
            thread::yield_now();
        }
        let mut queue = self.queue();
        loop {
            if let Some(next) = queue.jobs.pop_front() {
                self.queued.fetch_sub(1, Ordering::Relaxed);
                queue.began = Some(Instant::now());
                return Some(next);
            }
            if since.elapsed() >= IDLE {
                queue.ended = true;
                return None;
            }
            queue.asleep = true;
            queue = self.job_queued.wait_timeout(queue, IDLE).unwrap_or_else(PoisonError::into_inner).0;
            queue.asleep = false;
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // No code under this lock can leave the queue half changed.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
