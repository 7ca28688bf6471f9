//! The thread that records the scene.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use anyhow::{Context, Result};

/// The data of a job, and the function that processes it.
type Job<T> = (T, fn(&mut T));

/// A thread that runs one job after another, and returns the data of each job.
pub struct JobThread<T> {
    jobs: Option<Sender<Job<T>>>,
    done: Receiver<T>,
    thread: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> JobThread<T> {
    /// Starts the thread.
    ///
    /// # Errors
    /// The thread cannot be created.
    pub fn new(name: &str) -> Result<Self> {
        let (jobs, queued) = channel::<Job<T>>();
        let (finished, done) = channel();
        let run = move || {
            for (mut data, job) in queued {
                job(&mut data);
                if finished.send(data).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run).context("no job thread")?;
        Ok(Self { jobs: Some(jobs), done, thread: Some(thread) })
    }

    /// Starts a job.
    ///
    /// # Errors
    /// The thread has ended: a job panicked.
    pub fn start(&self, data: T, job: fn(&mut T)) -> Result<()> {
        let jobs = self.jobs.as_ref().context("the job thread has ended")?;
        jobs.send((data, job)).ok().context("the job thread has ended")
    }

    /// Waits for the job and returns its data.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn finish(&self) -> Result<T> {
        self.done.recv().context("the job thread has ended")
    }
}

impl<T> Drop for JobThread<T> {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            log::error!("the job thread panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_returns_what_it_was_given() {
        let jobs = JobThread::new("test").unwrap();
        for number in 0..3 {
            jobs.start(number, |number| *number += 1).unwrap();
            assert_eq!(jobs.finish().unwrap(), number + 1);
        }
    }

    #[test]
    fn a_job_that_panics_is_an_error() {
        let jobs = JobThread::new("test").unwrap();
        jobs.start(0, |_| panic!("on purpose")).unwrap();
        jobs.finish().unwrap_err();
        assert!(jobs.start(0, |_| {}).is_err() || jobs.finish().is_err());
    }
}
