//! Tests of the stream under a scheduler that chooses the running thread at each lock, notification
//! and atomic access. They explore thousands of schedules, chosen at random and by priorities. Time
//! limits never expire there, so a wait that only a time limit would end is reported as a deadlock.

use std::time::Duration;

use sync::atomic::{AtomicUsize, Ordering};
use sync::{Arc, Mutex, thread};

use crate::error::Error;

mod without_notices;

mod sync {
    pub(super) use std::sync::{OnceLock, PoisonError};

    pub(super) use shuttle::sync::{Arc, Condvar, Mutex, MutexGuard, Weak, atomic};
    pub(super) use shuttle::thread;
}

#[allow(dead_code, clippy::duplicate_mod, reason = "the same code on other threads and locks")]
#[path = "../stream.rs"]
mod stream;

use stream::HostStream;

/// Never expires under the scheduler.
const LIMIT: Duration = Duration::from_secs(3600);

/// Runs `test` in 2,000 schedules, half of them with few thread switches at random places.
fn explore(test: impl Fn() + Send + Sync + Copy + 'static) {
    shuttle::check_random(test, 1_000);
    shuttle::check_pct(test, 1_000, 3);
}

#[test]
fn jobs_of_each_thread_run_in_order_and_before_drain_returns() {
    explore(|| {
        let stream = HostStream::new().unwrap();
        let done = Arc::new(Mutex::new(Vec::new()));
        let threads: Vec<_> = (0..2)
            .map(|thread| {
                let (stream, done) = (stream.clone(), Arc::clone(&done));
                thread::spawn(move || {
                    for job in 0..3 {
                        let done = Arc::clone(&done);
                        stream.run(move || done.lock().unwrap().push((thread, job))).unwrap();
                    }
                    assert!(stream.drain(LIMIT));
                    let done = done.lock().unwrap();
                    let own = done.iter().filter(|(its, _)| *its == thread).map(|(_, job)| *job);
                    assert_eq!(own.collect::<Vec<_>>(), [0, 1, 2]);
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(done.lock().unwrap().len(), 6);
    });
}

#[test]
fn dropping_the_last_clone_waits_for_all_jobs() {
    explore(|| {
        let done = Arc::new(AtomicUsize::new(0));
        let stream = HostStream::new().unwrap();
        let other = stream.clone();
        let counted = Arc::clone(&done);
        let thread = thread::spawn(move || {
            other.run(move || _ = counted.fetch_add(1, Ordering::SeqCst)).unwrap();
        });
        let counted = Arc::clone(&done);
        stream.run(move || _ = counted.fetch_add(1, Ordering::SeqCst)).unwrap();
        drop(stream);
        thread.join().unwrap();
        assert_eq!(done.load(Ordering::SeqCst), 2, "the stream has gone, and its work has not been done");
    });
}

#[test]
fn last_clone_may_be_dropped_inside_a_job() {
    explore(|| {
        let stream = HostStream::new().unwrap();
        let (inner, done) = (stream.clone(), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&done);
        stream
            .run(move || {
                assert!(inner.is_current() && !inner.drain(LIMIT));
                drop(inner);
                counted.fetch_add(1, Ordering::SeqCst);
            })
            .unwrap();
        drop(stream);
        while done.load(Ordering::SeqCst) == 0 {
            thread::yield_now();
        }
    });
}

#[test]
fn after_a_failure_no_job_runs_and_all_values_are_signaled() {
    explore(|| {
        let stream = HostStream::new().unwrap();
        let signals = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (stream, signals) = (stream.clone(), Arc::clone(&signals));
                thread::spawn(move || {
                    let failed = stream.wait(|| Err(Error::HostFailed { reason: "on purpose".into() })).is_err();
                    let ran = stream.run(|| unreachable!("it runs behind a failed wait"));
                    let counted = Arc::clone(&signals);
                    let signal = stream.signal(move || {
                        counted.fetch_add(1, Ordering::SeqCst);
                        Ok(())
                    });
                    // After the failure the stream accepts no work.
                    assert!(!failed || ran.is_err() && signal.is_err());
                    usize::from(signal.is_ok())
                })
            })
            .collect();
        let taken: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert!(stream.drain(LIMIT) && stream.ensure_alive().is_err());
        assert_eq!(signals.load(Ordering::SeqCst), taken, "Vulkan waits for a signal that nobody gives");
    });
}
