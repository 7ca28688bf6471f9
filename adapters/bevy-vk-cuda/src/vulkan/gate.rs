//! Keeps the bridge's submissions apart from wgpu's waits for the whole device.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use bevy_ecs::resource::Resource;
use bevy_ecs::system::Res;
use bridge::{QueueLock, ash::vk};

/// The limit of a submission's wait for surfaces to be configured. After it, the submission fails.
const LIMIT: Duration = Duration::from_secs(5);

/// The lock of the bridge's queue, which also keeps it from submitting while wgpu configures
/// surfaces.
///
/// wgpu calls `vkDeviceWaitIdle` then, and Vulkan requires that nobody uses any queue of the device
/// meanwhile ([`vkDeviceWaitIdle`], "Host Synchronization"). wgpu guards its own queue. The
/// bridge's is guarded by the systems [`close`] and [`open`], between which the render world
/// configures the windows' surfaces and acquires their images.
///
/// wgpu also waits for the device when a window is closed and when it is dropped itself, which this
/// does not cover.
///
/// [`vkDeviceWaitIdle`]: https://registry.khronos.org/vulkan/specs/latest/man/html/vkDeviceWaitIdle.html
#[derive(Resource, Debug, Clone, Default)]
pub(crate) struct Gate(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    closed: bool,
    submitting: bool,
}

impl Gate {
    /// Waits for a submission that is being made, and lets none begin until [`open`](Self::open).
    pub(crate) fn close(&self) {
        let state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = self.0.changed.wait_while(state, |state| state.submitting);
        state.unwrap_or_else(PoisonError::into_inner).closed = true;
    }

    pub(crate) fn open(&self) {
        self.change(|state| state.closed = false);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.changed.notify_all();
    }
}

impl QueueLock for Gate {
    fn with(&self, _: vk::Queue, f: &mut dyn FnMut()) {
        /// Reopens the way where `f` panics, too.
        struct Submitting<'a>(&'a Gate);
        impl Drop for Submitting<'_> {
            fn drop(&mut self) {
                self.0.change(|state| state.submitting = false);
            }
        }
        let state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        // `open` may never come: a system between the two has panicked, or is the caller on a
        // schedule with one thread.
        let waited = self.0.changed.wait_timeout_while(state, LIMIT, |state| state.closed || state.submitting);
        let (mut state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            log::error!("nothing is submitted: Bevy's surfaces were being configured for more than {LIMIT:?}");
            return;
        }
        state.submitting = true;
        drop(state);
        let _submitting = Submitting(self);
        f();
    }
}

/// Runs before surfaces are configured.
pub(crate) fn close(gate: Res<'_, Gate>) {
    gate.close();
}

/// Runs after surfaces were configured.
pub(crate) fn open(gate: Res<'_, Gate>) {
    gate.open();
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    const A_WHILE: Duration = Duration::from_millis(30);

    #[test]
    fn nothing_is_submitted_while_it_is_closed() {
        let (gate, submitted) = (Gate::default(), AtomicBool::new(false));
        gate.close();
        std::thread::scope(|scope| {
            scope.spawn(|| gate.with(vk::Queue::null(), &mut || submitted.store(true, Ordering::SeqCst)));
            std::thread::sleep(A_WHILE);
            assert!(!submitted.load(Ordering::SeqCst), "it is closed");
            gate.open();
        });
        assert!(submitted.load(Ordering::SeqCst), "it was opened");
    }

    /// Whoever closed it has panicked, or waits for the caller.
    #[test]
    fn a_gate_that_stays_closed_holds_nobody_up_for_good() {
        let (gate, mut submitted) = (Gate::default(), false);
        gate.close();
        gate.with(vk::Queue::null(), &mut || submitted = true);
        assert!(!submitted);
        gate.open();
        gate.with(vk::Queue::null(), &mut || submitted = true);
        assert!(submitted, "and goes on");
    }

    #[test]
    fn closing_waits_for_a_submission_even_one_that_panics() {
        let (gate, ended) = (Gate::default(), AtomicBool::new(false));
        let begun = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            let submission = scope.spawn(|| {
                gate.with(vk::Queue::null(), &mut || {
                    begun.wait();
                    std::thread::sleep(A_WHILE);
                    ended.store(true, Ordering::SeqCst);
                    panic!("on purpose");
                });
            });
            begun.wait();
            gate.close();
            assert!(ended.load(Ordering::SeqCst));
            assert!(submission.join().is_err());
        });
        gate.open();
        gate.with(vk::Queue::null(), &mut || ended.store(false, Ordering::SeqCst));
        assert!(!ended.load(Ordering::SeqCst), "and goes on");
    }
}
