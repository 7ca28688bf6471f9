//! Keeps the bridge's submissions apart from wgpu's waits for the whole device.

use std::cell::Cell;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use bevy_ecs::resource::Resource;
use bridge::{QueueLock, ash::vk};

use crate::error::{Error, Result};

/// The timeout of a submission's wait while surfaces are configured or dropped; after it, the
/// submission fails.
const LIMIT: Duration = Duration::from_secs(5);

/// The lock of the bridge's queue, which also prevents submissions while wgpu configures or drops
/// surfaces.
///
/// wgpu then calls `vkDeviceWaitIdle`, and Vulkan requires that no queue of the device is used
/// during this call ([`vkDeviceWaitIdle`], "Host Synchronization"). wgpu guards its own queue. The
/// bridge's queue is guarded by this lock, which is closed whenever Bevy does that, see
/// [`windows`](super::windows).
///
/// wgpu 29 calls it in one place, where it releases a surface's swapchain. When wgpu's queue is
/// dropped, it only waits for its own last submission, for at most 6.3 s, and then panics.
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
    /// `true` once it was closed for the first time.
    used: bool,
    submitting: bool,
}

thread_local! {
    /// Whether a submission of this thread was not made because the gate stayed closed.
    static GAVE_UP: Cell<bool> = const { Cell::new(false) };
}

/// Calls a function that may submit. If it fails because the gate stayed closed, returns an error
/// that says so: the bridge's own error only mentions the lock.
pub(crate) fn explained<T, E: Into<Error>>(object: &str, call: impl FnOnce() -> Result<T, E>) -> Result<T> {
    GAVE_UP.set(false);
    call().map_err(|error| if GAVE_UP.take() { Error::windows_configured(object, LIMIT) } else { error.into() })
}

impl Gate {
    /// Waits for a submission that is being made, and blocks new ones until [`open`](Self::open).
    pub(crate) fn close(&self) {
        let state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = self.0.changed.wait_while(state, |state| state.submitting);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        (state.closed, state.used) = (true, true);
    }

    /// [Closes](Self::close) the gate until the returned value is dropped.
    #[must_use = "dropping it opens the gate"]
    pub(crate) fn closed(&self) -> OpenOnDrop {
        self.close();
        OpenOnDrop(self.clone())
    }

    pub(crate) fn open(&self) {
        self.0.change(|state| state.closed = false);
    }

    /// Returns the lock for every device that Bevy creates. There is only one, since the bridge
    /// uses it to detect calls that would wait for themselves.
    pub(crate) fn lock(&self) -> Arc<dyn QueueLock> {
        Arc::clone(&self.0) as Arc<dyn QueueLock>
    }

    #[cfg(test)]
    pub(crate) fn is_closed(&self) -> bool {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).closed
    }
}

/// Opens the gate when it is dropped.
pub(crate) struct OpenOnDrop(Gate);

impl OpenOnDrop {
    /// Opens the gate, which need not be closed yet, when the value is dropped.
    pub(crate) fn new(gate: Gate) -> Self {
        Self(gate)
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.0
    }
}

impl Drop for OpenOnDrop {
    fn drop(&mut self) {
        self.0.open();
    }
}

/// Closes the gate when it is dropped, if the gate has ever been closed: otherwise, no window had a
/// surface.
#[derive(Default)]
pub(crate) struct CloseOnDrop(Gate);

impl CloseOnDrop {
    pub(crate) fn new(gate: Gate) -> Self {
        Self(gate)
    }
}

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        let used = self.0.0.state.lock().unwrap_or_else(PoisonError::into_inner).used;
        if used {
            self.0.close();
        }
    }
}

impl Inner {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }
}

impl QueueLock for Inner {
    fn with(&self, _: vk::Queue, f: &mut dyn FnMut()) {
        /// Ends the submission even if `f` panics.
        struct Submitting<'a>(&'a Inner);
        impl Drop for Submitting<'_> {
            fn drop(&mut self) {
                self.0.change(|state| state.submitting = false);
            }
        }
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // `open` may never be called: a system between the two has panicked, or it is the caller,
        // in a schedule with one thread.
        let waited = self.changed.wait_timeout_while(state, LIMIT, |state| state.closed || state.submitting);
        let (mut state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            log::error!(
                "nothing is submitted: Bevy was configuring or dropping the surfaces of its windows for more than \
                 {LIMIT:?}; the call can be repeated"
            );
            return GAVE_UP.set(true);
        }
        state.submitting = true;
        drop(state);
        let _submitting = Submitting(self);
        f();
    }
}

#[cfg(test)]
mod tests;
