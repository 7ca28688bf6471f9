//! One thread with a queue of driver calls, and how callers wait for their results.
//!
//! Waking a thread takes the system tens of microseconds, more than some of the calls. So both
//! sides look for a while before they sleep: a caller for its result, the thread for another call.
//! What is freed in a row, such as all that an exchange held, wakes the thread once.

use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::logging::log_error;
use crate::sys::{CallError, CallResult, UNKNOWN};

/// Duration for which the thread looks for another call before it sleeps.
const HOT: Duration = Duration::from_micros(50);

/// Duration for which a caller looks without giving the processor up: about what handing a call
/// over takes.
const SPIN: Duration = Duration::from_micros(10);

/// Duration for which it offers the processor to others between two looks, before it sleeps. Calls
/// that do not block take less.
const YIELD: Duration = Duration::from_micros(500);

/// Duration for which the thread sleeps before it ends.
const IDLE: Duration = Duration::from_secs(1);

/// One driver call, or several, on the thread that frees.
pub(super) struct Job {
    /// The driver call that may block, for errors.
    pub(super) name: &'static str,
    pub(super) call: Box<dyn FnOnce() -> CallResult<()> + Send>,
    /// One that is queued and has not begun does for all who ask for the same: it sees whatever
    /// they did before.
    pub(super) shared: bool,
}

/// Place of the result.
type Ticket = OnceLock<CallResult<()>>;

/// One thread with a queue, for one context. The thread ends when nothing was asked of it for
/// [`IDLE`].
#[derive(Default)]
pub(super) struct Worker {
    queue: Mutex<Queue>,
    /// As many as there are calls in the queue, for a look without the lock.
    queued: AtomicUsize,
    asked: Condvar,
    answered: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<(Job, Arc<Ticket>)>,
    /// When the call that is being made began.
    began: Option<Instant>,
    /// The thread sleeps.
    asleep: bool,
    /// Callers that sleep.
    waiting: usize,
    /// The thread has ended, or will without another look.
    ended: bool,
}

/// Why a job was not done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotDone {
    /// It has not ended after so long. It will be done all the same.
    Waited(Duration),
    /// The thread has ended: it was not taken.
    Ended,
}

thread_local! {
    /// The worker that this thread is of, by its address.
    static OF: Cell<usize> = const { Cell::new(0) };
}

impl Worker {
    /// `ended` is called by the thread when it ends.
    pub(super) fn start(ended: impl FnOnce(&Arc<Self>) + Send + 'static) -> std::io::Result<Arc<Self>> {
        let worker = Arc::new(Self::default());
        let this = Arc::clone(&worker);
        let work = move || {
            OF.set(this.address());
            this.work();
            ended(&this);
        };
        thread::Builder::new().name("cuda-import-free".into()).spawn(work)?;
        Ok(worker)
    }

    /// Returns `true` if the caller is a part of what the thread does.
    pub(super) fn is_current(&self) -> bool {
        OF.get() == self.address()
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// The result of `job`, which is waited for until it, or what is done before it, has taken as
    /// long as `limit`.
    pub(super) fn run(&self, job: &mut Option<Job>, limit: Duration) -> Result<CallResult<()>, NotDone> {
        let start = Instant::now();
        let ticket = self.ask(job)?;
        while start.elapsed() < YIELD.min(limit) {
            if let Some(result) = ticket.get() {
                return Ok(*result);
            }
            if start.elapsed() < SPIN { std::hint::spin_loop() } else { thread::yield_now() }
        }
        let mut queue = self.queue();
        loop {
            // Set before the lock is taken for the notice, so that none is missed.
            if let Some(result) = ticket.get() {
                return Ok(*result);
            }
            // The call in front may be this one: both limits count.
            let since = queue.began.map_or(start, |began| began.min(start));
            let Some(left) = limit.checked_sub(since.elapsed()) else { return Err(NotDone::Waited(start.elapsed())) };
            queue.waiting += 1;
            queue = self.answered.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
            queue.waiting -= 1;
        }
    }

    /// Takes the job, unless another does for it or the thread has ended.
    fn ask(&self, job: &mut Option<Job>) -> Result<Arc<Ticket>, NotDone> {
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
            self.asked.notify_one();
        }
        Ok(ticket)
    }

    fn work(&self) {
        while let Some((job, ticket)) = self.next() {
            let Job { name, call, .. } = job;
            let result = catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
                // The payload may panic in turn when it is dropped.
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
                self.answered.notify_all();
            }
        }
    }

    /// The next job. None once there was none for [`IDLE`].
    fn next(&self) -> Option<(Job, Arc<Ticket>)> {
        let since = Instant::now();
        while self.queued.load(Ordering::Acquire) == 0 && since.elapsed() < HOT {
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
            queue = self.asked.wait_timeout(queue, IDLE).unwrap_or_else(PoisonError::into_inner).0;
            queue.asleep = false;
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing under this lock can leave the queue half changed.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
