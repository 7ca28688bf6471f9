//! [`PresentOrder`], which keeps presents from depending on frames that wait for the host.

// A Vulkan call.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use bridge::ash::vk::{self, Handle as _};
use bridge::{ExportDevice, TimelinePoint};

use crate::error::{Error, Result};

/// Record of the frames that views submit to a queue, and of the windows that present to it.
///
/// A present must not depend on a signal that has not been submitted yet
/// (VUID-vkQueuePresentKHR-pWaitSemaphores-03268). It depends on everything that was submitted to
/// its queue before, by any view. So while a window exists, frames are only submitted once their
/// signals are; and a window is only added once the frames have ended that were submitted earlier.
pub(crate) struct PresentOrder<P = TimelinePoint> {
    state: Mutex<State<P>>,
    /// Notified when an unprepared submission was made or has failed.
    submitted: Condvar,
}

struct State<P> {
    /// The number of windows.
    presenters: usize,
    /// The number of unprepared submissions that are being made.
    submitting: usize,
    /// The number of events so far, which orders them.
    events: u64,
    /// The newest unprepared submissions. Earlier ones end before these.
    unprepared: Vec<Unprepared<P>>,
}

/// A submission that may wait for the host.
struct Unprepared<P> {
    /// The number of the event after which it was known.
    recorded: u64,
    /// The point at which it has ended; `None` if there is none to wait for.
    point: Option<P>,
}

impl PresentOrder {
    /// Returns the order of the device's queue. It is the same for all views and windows, even if
    /// they adopted the device separately.
    pub(crate) fn of(device: &ExportDevice) -> Arc<Self> {
        type Orders = HashMap<(u64, vk::Queue), Weak<PresentOrder>>;
        static ORDERS: Mutex<Option<Orders>> = Mutex::new(None);
        let mut orders = ORDERS.lock().unwrap_or_else(PoisonError::into_inner);
        let orders = orders.get_or_insert_default();
        let key = (device.as_raw().handle().as_raw(), device.queue().as_raw());
        if let Some(order) = orders.get(&key).and_then(Weak::upgrade) {
            return order;
        }
        // Handle values are reused by later devices: remove the orders that no view has.
        orders.retain(|_, order| order.strong_count() > 0);
        let order = Arc::new(Self::new());
        orders.insert(key, Arc::downgrade(&order));
        order
    }

    /// Adds a window that presents to the device's queue, and waits until nothing on the queue
    /// waits for the host, for at most `limit`.
    ///
    /// # Errors
    /// [`Error::Bridge`] with [`bridge::Error::Timeout`] if a frame of a view has not ended by
    /// then, and [`Error::CannotPresent`] if another thread has not submitted one by then; no
    /// window is added.
    pub(crate) fn present(device: &ExportDevice, limit: Duration) -> Result<Presenting> {
        let (order, start) = (Self::of(device), Instant::now());
        let presenting = order.add_presenter();
        if !order.wait_submitted(limit) {
            let reason = format!("another thread was submitting a view's frame for more than {limit:?}; try again");
            return Err(Error::CannotPresent { device: device.name().to_owned(), reason });
        }
        // Meanwhile no unprepared submission is added.
        for point in order.points() {
            let left = limit.saturating_sub(start.elapsed());
            let Some(point) = point else {
                wait_for_queue(device, "the frames before a window", left)?;
                continue;
            };
            // After any other error the commands no longer run.
            if let Err(error @ bridge::Error::Timeout { .. }) = point.wait_ended(left) {
                return Err(error.into());
            }
        }
        order.forget();
        Ok(presenting)
    }

    /// Releases what has ended: the points of frames keep their exchange's timelines alive, and the
    /// devices of both sides.
    pub(crate) fn release_ended(&self) {
        self.forget_if(|point| point.is_reached().unwrap_or_else(|error| error.is_device_lost()));
    }
}

/// Waits for everything that was submitted to the device's queue, for at most `limit`. `name` names
/// the wait in errors.
pub(crate) fn wait_for_queue(device: &ExportDevice, name: &str, limit: Duration) -> Result<()> {
    // Its fence is signaled after all earlier submissions to the queue.
    // SAFETY: the queue belongs to the device; nothing is recorded.
    match unsafe { device.run_once(device.queue(), name, limit, |_| {}) } {
        Err(error) if !error.is_device_lost() => Err(error.into()),
        // A lost device no longer uses any object.
        _ => Ok(()),
    }
}

impl<P: Clone> PresentOrder<P> {
    fn new() -> Self {
        let state = State { presenters: 0, submitting: 0, events: 0, unprepared: Vec::new() };
        Self { state: Mutex::new(state), submitted: Condvar::new() }
    }

    /// Locks the state. Not held during driver calls.
    fn lock(&self) -> MutexGuard<'_, State<P>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Called before a frame is submitted. If there is a window on the queue, calls `prepare`,
    /// which ensures that the frame waits for no signal that is not submitted.
    pub(crate) fn admit(&self, prepare: impl FnOnce() -> bridge::Result<()>) -> Result<Admitted<'_, P>> {
        let mut state = self.lock();
        if state.presenters == 0 {
            state.submitting += 1;
            return Ok(Admitted(Some((self, state.next_event()))));
        }
        drop(state);
        prepare()?;
        Ok(Admitted(None))
    }

    fn add_presenter(self: &Arc<Self>) -> Presenting<P> {
        self.lock().presenters += 1;
        Presenting(Arc::clone(self))
    }

    /// Waits until no unprepared submission is being made. Returns `false` after `limit`.
    fn wait_submitted(&self, limit: Duration) -> bool {
        let submitting = |state: &mut State<P>| state.submitting > 0;
        let waited = self.submitted.wait_timeout_while(self.lock(), limit, submitting);
        waited.unwrap_or_else(PoisonError::into_inner).0.submitting == 0
    }

    /// Returns the points of the unprepared submissions.
    fn points(&self) -> Vec<Option<P>> {
        self.lock().unprepared.iter().map(|one| one.point.clone()).collect()
    }

    /// Forgets the unprepared submissions whose point `has_ended`.
    fn forget_if(&self, has_ended: impl Fn(&P) -> bool) {
        let known = self.lock().unprepared.iter().map(|one| (one.recorded, one.point.clone())).collect::<Vec<_>>();
        let is_over =
            |(recorded, point): &(u64, Option<P>)| point.as_ref().is_some_and(&has_ended).then_some(*recorded);
        let over: Vec<_> = known.iter().filter_map(is_over).collect();
        let ended: Vec<_> = self.lock().unprepared.extract_if(.., |one| over.contains(&one.recorded)).collect();
        drop((ended, known));
    }

    /// Forgets the unprepared submissions, which have ended.
    fn forget(&self) {
        let ended = std::mem::take(&mut self.lock().unprepared);
        // Dropped without the lock, since a point may be the last owner of Vulkan objects.
        drop(ended);
    }
}

impl<P> State<P> {
    fn next_event(&mut self) -> u64 {
        self.events += 1;
        self.events
    }
}

/// The permission to submit a frame. Drop it if the submission has failed.
pub(crate) struct Admitted<'a, P: Clone = TimelinePoint>(
    /// The order that records the submission, and the number of the event at which it was admitted.
    /// `None` if the submission is prepared.
    Option<(&'a PresentOrder<P>, u64)>,
);

impl<P: Clone> Admitted<'_, P> {
    /// Notes that the frame was submitted, and the point at which it has ended; `None` if that is
    /// not known.
    pub(crate) fn submitted(self, point: Option<P>) {
        let Some((order, admitted)) = self.0 else { return };
        let mut state = order.lock();
        // What was submitted before this submission was begun ends before it does.
        let earlier: Vec<_> = state.unprepared.extract_if(.., |one| one.recorded < admitted).collect();
        let recorded = state.next_event();
        state.unprepared.push(Unprepared { recorded, point });
        drop(state);
        drop(earlier);
    }
}

impl<P: Clone> Drop for Admitted<'_, P> {
    fn drop(&mut self) {
        if let Some((order, _)) = self.0 {
            order.lock().submitting -= 1;
            order.submitted.notify_all();
        }
    }
}

/// A window on a queue. Drop it once nothing more is presented to the window.
pub(crate) struct Presenting<P: Clone = TimelinePoint>(Arc<PresentOrder<P>>);

impl<P: Clone> Drop for Presenting<P> {
    fn drop(&mut self) {
        self.0.lock().presenters -= 1;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test that cannot continue fails.
mod tests {
    use bridge::cudarc::driver::{DriverError, sys::CUresult};

    use super::*;

    fn order() -> Arc<PresentOrder<u32>> {
        Arc::new(PresentOrder::new())
    }

    fn unprepared() -> bridge::Result<()> {
        panic!("there is no window")
    }

    fn submit(order: &PresentOrder<u32>, point: u32) {
        order.admit(unprepared).unwrap().submitted(Some(point));
    }

    #[test]
    fn frames_are_prepared_while_there_is_a_window() {
        let order = order();
        submit(&order, 1);
        let windows = [(); 2].map(|()| order.add_presenter());
        for window in windows {
            let mut prepared = false;
            let prepare = || {
                prepared = true;
                Ok(())
            };
            let admitted = order.admit(prepare).unwrap();
            admitted.submitted(Some(2));
            assert!(prepared);
            assert!(order.admit(|| Err(DriverError(CUresult::CUDA_ERROR_INVALID_VALUE).into())).is_err());
            drop(window);
        }
        assert_eq!(order.points(), [Some(1)], "a prepared frame is not waited for");
        submit(&order, 3);
        assert_eq!(order.points(), [Some(3)]);
        order.forget();
        assert_eq!(order.points(), []);
    }

    #[test]
    fn ended_frames_are_forgotten() {
        let order = order();
        let [first, second, unknown] = [(); 3].map(|()| order.admit(unprepared).unwrap());
        first.submitted(Some(1));
        second.submitted(Some(2));
        unknown.submitted(None);
        order.forget_if(|point| *point == 1);
        assert_eq!(order.points(), [Some(2), None]);
    }

    /// A submission of another thread that was admitted before there was a window is waited for.
    #[test]
    fn a_window_waits_for_submissions_that_are_being_made() {
        let order = order();
        let admitted = order.admit(unprepared).unwrap();
        let window = order.add_presenter();
        assert!(!order.wait_submitted(Duration::ZERO));
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| order.wait_submitted(Duration::from_secs(60)));
            admitted.submitted(Some(1));
            assert!(waits.join().unwrap());
        });
        assert_eq!(order.points(), [Some(1)]);
        drop(window);
        // One that fails is over.
        drop(order.admit(unprepared).unwrap());
        assert!(order.wait_submitted(Duration::ZERO));
        assert_eq!(order.points(), [Some(1)]);
    }

    /// Threads may note their submissions in another order than that of the queue.
    #[test]
    fn only_submissions_that_surely_end_earlier_are_forgotten() {
        let order = order();
        submit(&order, 1);
        let [first, second] = [(); 2].map(|()| order.admit(unprepared).unwrap());
        second.submitted(Some(2));
        assert_eq!(order.points(), [Some(2)]);
        first.submitted(None);
        assert_eq!(order.points(), [Some(2), None]);
        submit(&order, 3);
        assert_eq!(order.points(), [Some(3)], "it ends after all others");
    }
}
