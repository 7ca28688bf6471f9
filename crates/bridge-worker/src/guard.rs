//! The thread that signals in the renderer's place when the renderer dies.

use std::mem::forget;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use bridge_ipc::{Owner, PeerWatch};
use bridge_trace::log_warn;

use crate::rescue::DRAIN;

/// A thread that signals in the renderer's place when the renderer dies, even while the program
/// itself waits for the stream. Dropping the guard ends the thread.
///
/// A forked child has a copy of the guard, but not the thread: dropping the copy has no effect.
pub(crate) struct Guard {
    watch: Arc<PeerWatch>,
    /// `None` after the thread was detached.
    thread: Option<JoinHandle<()>>,
    /// Set once the stream gets no more waits.
    left: Arc<AtomicBool>,
    owner: Owner,
}

impl Guard {
    /// Starts the thread, which calls `signal` repeatedly once the renderer has died.
    pub(crate) fn new(watch: PeerWatch, signal: impl Fn() + Send + 'static) -> Option<Self> {
        let watch = Arc::new(watch);
        let left = Arc::new(AtomicBool::new(false));
        let (watching, is_left) = (Arc::clone(&watch), Arc::clone(&left));
        let thread = std::thread::Builder::new().name("bridge-worker".into()).spawn(move || {
            if !watching.wait() {
                return;
            }
            // A frame that is begun at this moment may add waits.
            while !watching.is_stopped_within(DRAIN) {
                // Loaded before the signals, so that the last round covers all waits.
                let is_last = is_left.load(Ordering::Acquire);
                signal();
                if is_last {
                    return;
                }
            }
        });
        match thread {
            Ok(thread) => Some(Self { watch, left, thread: Some(thread), owner: Owner::current() }),
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
    pub(crate) fn leave(mut self) {
        self.left.store(true, Ordering::Release);
        self.thread = None;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        if self.owner.is_forked() {
            // Stopping the watch would end the thread of the parent, which has the same event
            // counter. There is no thread to wait for or to detach.
            return forget(thread);
        }
        self.watch.stop();
        // The thread does not panic.
        let _ = thread.join();
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
            assert!(listener.greet(&hello, Duration::from_millis(1)).unwrap().is_none());
        }
        let worker = worker.join().unwrap();
        // The peer is this process, so the watch ends only if it is stopped.
        let mut guard = Guard::new(worker.peer().watch().unwrap(), || ());
        in_a_child(|| drop(guard.take()));
        let guard = guard.unwrap();
        assert!(!guard.watch.is_stopped_within(Duration::ZERO));
        drop(guard);
    }
}
