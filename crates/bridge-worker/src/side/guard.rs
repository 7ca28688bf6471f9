//! The thread that signals in the renderer's place when the renderer dies.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bridge_ipc::{Owner, PeerWatch};
use bridge_trace::log_warn;
use cuda_import::LogHold;

use crate::error::Result;
use crate::side::rescue::{DRAIN, log_failure};

/// A thread that signals in the renderer's place when the renderer dies, even while the program
/// itself waits for the stream. Dropping the guard ends the thread.
///
/// A forked child has a copy of the guard, but not the thread: dropping the copy has no effect.
pub(crate) struct Guard {
    watch: Arc<PeerWatch>,
    work: Arc<Mutex<Option<Work>>>,
    /// Set once the stream gets no more waits.
    left: Arc<AtomicBool>,
    owner: Owner,
}

/// Everything that the thread uses. The thread locks it, except while it is in the program's
/// logger, so whoever drops the guard can take it away without waiting for the logger.
struct Work {
    watch: Arc<PeerWatch>,
    signal: Box<dyn Fn() -> Result<()> + Send>,
}

impl Guard {
    /// Starts the thread, which calls `signal` repeatedly once the renderer has died.
    pub(crate) fn new(watch: PeerWatch, signal: impl Fn() -> Result<()> + Send + 'static) -> Option<Self> {
        let watch = Arc::new(watch);
        let left = Arc::new(AtomicBool::new(false));
        let work = Arc::new(Mutex::new(Some(Work { watch: Arc::clone(&watch), signal: Box::new(signal) })));
        let (shared, is_left) = (Arc::clone(&work), Arc::clone(&left));
        // Not joined: dropping the guard waits for `work` instead.
        let thread = std::thread::Builder::new().name("bridge-worker".into()).spawn(move || run(&shared, &is_left));
        match thread {
            Ok(_) => Some(Self { watch, work, left, owner: Owner::current() }),
            Err(error) => {
                log_warn!(
                    "the end of the renderer is noticed only by the next call, since no thread could be started: \
                     {error}"
                );
                None
            }
        }
    }

    /// Detaches the thread, which ends once the renderer is dead. No more work is enqueued, and the
    /// stream and the timelines are never freed.
    pub(crate) fn leave(self) {
        self.left.store(true, Ordering::Release);
    }
}

/// Runs on the thread.
fn run(shared: &Mutex<Option<Work>>, is_left: &AtomicBool) {
    let mut work = lock(shared);
    if !work.as_ref().is_some_and(|work| work.watch.wait()) {
        return;
    }
    // A frame that is begun at this moment may add waits.
    while let Some(Work { watch, signal }) = &*work
        && !watch.is_stopped_within(DRAIN)
    {
        // Loaded before the signals, so that the last round covers all waits.
        let is_last = is_left.load(Ordering::Acquire);
        // The program's logger may wait for a thread that drops the guard.
        let held = LogHold::new();
        let signaled = signal();
        drop(work);
        drop(held);
        log_failure(signaled);
        if is_last {
            return;
        }
        work = lock(shared);
    }
}

fn lock(work: &Mutex<Option<Work>>) -> MutexGuard<'_, Option<Work>> {
    work.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Guard {
    fn drop(&mut self) {
        // In a forked child, stopping the watch would end the thread of the parent, which has the
        // same event counter and may have held the lock at the fork.
        if self.owner.is_forked() || self.left.load(Ordering::Acquire) {
            return;
        }
        self.watch.stop();
        // Waits until the thread makes no driver calls, and leaves it none to make.
        drop(lock(&self.work).take());
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use bridge_ipc::{ConnectInfo, Connection, Hello, Listener, Role};
    use test_support::in_a_child;

    use super::*;

    /// A forked child that drops its copy of a guard neither ends the thread of its parent nor
    /// waits for it.
    #[test]
    fn a_forked_child_leaves_the_guard_of_its_parent_alone() {
        let place = std::env::temp_dir().join(format!("bridge-worker-guard-{}", std::process::id()));
        let listener = Listener::bind(&place).unwrap();
        let connect = |place: PathBuf| Connection::connect(place, &ConnectInfo::default()).unwrap();
        let worker = std::thread::spawn(move || connect(place));
        let hello = Hello { host: true, ..Hello::new(Role::Renderer, "renderer") };
        while !worker.is_finished() {
            assert!(listener.handshake(&hello, Duration::from_millis(1)).unwrap().is_none());
        }
        let worker = worker.join().unwrap();
        // The peer is this process, so the watch ends only if it is stopped.
        let mut guard = Guard::new(worker.peer().watch().unwrap(), || Ok(()));
        in_a_child(|| drop(guard.take()));
        let guard = guard.unwrap();
        assert!(!guard.watch.is_stopped_within(Duration::ZERO));
        drop(guard);
    }
}
