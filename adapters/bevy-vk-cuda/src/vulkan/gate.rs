//! Keeps the bridge's submissions apart from wgpu's waits for the whole device.

use std::cell::Cell;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use bevy_app::SubApp;
use bevy_ecs::resource::Resource;
use bevy_ecs::schedule::{IntoScheduleConfigs, SystemCondition};
use bevy_ecs::system::Res;
use bevy_render::view::{
    ExtractedWindows, cleanup_view_targets_for_resize, clear_view_attachments, create_surfaces, prepare_windows,
};
use bevy_render::{Render, RenderSystems};
use bridge::{QueueLock, ash::vk};

use crate::error::{Error, Result};

/// The timeout of a submission's wait while surfaces are configured; after it, the submission
/// fails.
const LIMIT: Duration = Duration::from_secs(5);

/// The lock of the bridge's queue, which also prevents submissions while wgpu configures surfaces.
///
/// wgpu then calls `vkDeviceWaitIdle`, and Vulkan requires that no queue of the device is used
/// during this call ([`vkDeviceWaitIdle`], "Host Synchronization"). wgpu guards its own queue. The
/// bridge's queue is guarded by the systems [`close`] and [`open`], between which the render world
/// configures the windows' surfaces and acquires their images.
///
/// wgpu 29 calls it in one place, where it releases a surface's swapchain. This also happens when a
/// window is closed, which this lock does not cover. When wgpu's queue is dropped, it only waits
/// for its own last submission, for at most 6.3 s, and then panics.
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
        state.unwrap_or_else(PoisonError::into_inner).closed = true;
    }

    pub(crate) fn open(&self) {
        self.0.change(|state| state.closed = false);
    }

    /// Returns the lock for every device that Bevy creates. There is only one, since the bridge
    /// uses it to detect calls that would wait for themselves.
    pub(crate) fn lock(&self) -> Arc<dyn QueueLock> {
        Arc::clone(&self.0) as Arc<dyn QueueLock>
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
                "nothing is submitted: Bevy was configuring the surfaces of its windows for more than {LIMIT:?}; the \
                 call can be repeated"
            );
            return GAVE_UP.set(true);
        }
        state.submitting = true;
        drop(state);
        let _submitting = Submitting(self);
        f();
    }
}

/// Adds the systems that close and open the gate of a render world; it is closed if `needed`.
///
/// It is closed as late as Bevy allows: after everything before [`RenderSystems::PrepareViews`],
/// such as the preparation of assets and meshes, and after Bevy's systems before `create_surfaces`
/// in that set.
pub(crate) fn add_systems<M>(render: &mut SubApp, needed: impl SystemCondition<M>) {
    let close = close
        .after(clear_view_attachments)
        .after(cleanup_view_targets_for_resize)
        .before(create_surfaces)
        .before(prepare_windows)
        .run_if(needed);
    let open = open.after(prepare_windows);
    render.add_systems(Render, (close, open).in_set(RenderSystems::PrepareViews));
}

/// Without windows, nothing is configured. With windows, it is not known in advance: if an image
/// cannot be acquired, `prepare_windows` configures its surface.
pub(crate) fn has_windows(windows: Option<Res<'_, ExtractedWindows>>) -> bool {
    windows.is_some_and(|windows| !windows.is_empty())
}

/// Runs before surfaces are configured.
fn close(gate: Res<'_, Gate>) {
    gate.close();
}

/// Runs after surfaces were configured.
fn open(gate: Res<'_, Gate>) {
    gate.open();
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // Tests.
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use bevy_ecs::schedule::SingleThreadedExecutor;
    use bevy_ecs::system::ResMut;

    use super::*;

    const A_WHILE: Duration = Duration::from_millis(30);

    #[test]
    fn nothing_is_submitted_while_it_is_closed() {
        let (gate, submitted) = (Gate::default(), AtomicBool::new(false));
        gate.close();
        std::thread::scope(|scope| {
            scope.spawn(|| gate.0.with(vk::Queue::null(), &mut || submitted.store(true, Ordering::SeqCst)));
            std::thread::sleep(A_WHILE);
            assert!(!submitted.load(Ordering::SeqCst), "it is closed");
            gate.open();
        });
        assert!(submitted.load(Ordering::SeqCst), "it was opened");
    }

    /// The gate is open while Bevy prepares assets, and closed from then until windows are
    /// prepared.
    #[test]
    fn it_is_closed_for_the_windows_alone() {
        #[derive(Resource, Default)]
        struct Closed(Vec<bool>);
        fn look(gate: Res<'_, Gate>, mut closed: ResMut<'_, Closed>) {
            closed.0.push(gate.0.state.lock().unwrap().closed);
        }
        fn look_at_views(gate: Res<'_, Gate>, closed: ResMut<'_, Closed>) {
            look(gate, closed);
        }
        for windows in [true, false] {
            let mut render = SubApp::new();
            render.add_schedule(Render::base_schedule());
            render.edit_schedule(Render, |render| {
                render.set_executor(SingleThreadedExecutor::new());
            });
            render.init_resource::<Gate>().init_resource::<Closed>();
            add_systems(&mut render, move || windows);
            render.add_systems(
                Render,
                (
                    look.in_set(RenderSystems::Specialize),
                    look_at_views.in_set(RenderSystems::PrepareViews).after(close).before(open),
                    look.in_set(RenderSystems::Queue),
                ),
            );
            render.world_mut().run_schedule(Render);
            assert_eq!(render.world().resource::<Closed>().0, [false, windows, false]);
        }
    }

    /// The error names the windows instead of the bridge's lock.
    #[test]
    fn a_submission_that_is_given_up_is_explained() {
        let gate = Gate::default();
        gate.close();
        let submit = || -> Result<()> {
            let mut submitted = false;
            gate.0.with(vk::Queue::null(), &mut || submitted = true);
            assert!(!submitted);
            Err(Error::invalid("queue", "`QueueLock::with` returned without calling its closure"))
        };
        let error = explained("picture", submit).unwrap_err();
        assert!(matches!(error, Error::WindowsConfigured { .. }), "{error}");
        assert!(error.to_string().contains("windows") && error.to_string().contains("again"), "{error}");
        // The next failure is a different one.
        let error = explained("picture", || Err::<(), _>(Error::invalid("picture", "on purpose"))).unwrap_err();
        assert!(matches!(error, Error::InvalidArgument { .. }), "{error}");
    }

    /// The system that closed the gate has panicked, or waits for the caller.
    #[test]
    fn a_gate_that_stays_closed_holds_nobody_up_for_good() {
        let (gate, mut submitted) = (Gate::default(), false);
        gate.close();
        gate.0.with(vk::Queue::null(), &mut || submitted = true);
        assert!(!submitted);
        gate.open();
        gate.0.with(vk::Queue::null(), &mut || submitted = true);
        assert!(submitted, "and goes on");
    }

    #[test]
    fn closing_waits_for_a_submission_even_one_that_panics() {
        let (gate, ended) = (Gate::default(), AtomicBool::new(false));
        let begun = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            let submission = scope.spawn(|| {
                gate.0.with(vk::Queue::null(), &mut || {
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
        gate.0.with(vk::Queue::null(), &mut || ended.store(false, Ordering::SeqCst));
        assert!(!ended.load(Ordering::SeqCst), "and goes on");
    }
}
