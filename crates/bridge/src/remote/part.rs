//! The interface of the parts for all kinds of workers: this process's handling of their frames.
#![allow(unsafe_code)] // Signals in the place of a process that has ended.

use std::num::NonZeroU64;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_ipc::{Backend, Direction, Message};

use super::falls::describe_lower;
use super::memory::{AcceptedMemory, OfferedMemory};
use super::pending_frames::PendingFrames;
use super::terms::Terms;
use super::wake::Waker;
use crate::error::Result;
use crate::exchange::{RemoteHandle, WorkerState};
use crate::observe::{log_error, log_warn};

/// The handle of an exchange on behalf of its workers.
pub(super) trait WorkerHandle: RemoteHandle {
    const DIRECTION: Direction;
    /// `true` if frames are in step, with values that are announced before they are reached.
    const TRUST: bool = false;
    type Part: Part<Handle = Self>;

    /// Returns the memory for the next worker.
    fn memory(&self, terms: &Terms) -> Result<OfferedMemory<'_, Slots<Self>>>;

    /// Prepares for the next worker, which computes with `backend`. Called once the previous
    /// workers have ended or closed the exchange: none uses the slots or signals its timelines any
    /// more, unless it violates the protocol. Waits for at most `limit`, and until `check_wanted`
    /// returns an error.
    ///
    /// # Errors
    /// The error of `check_wanted`, or the reason why no worker can be accepted now.
    fn prepare(&mut self, _backend: Backend, _limit: Duration, _check_wanted: &dyn Fn() -> Result<()>) -> Result<()> {
        Ok(())
    }
}

/// The objects that a part needs for slots that the worker uses directly.
pub(super) type Slots<E> = <<E as WorkerHandle>::Part as Part>::Slots;

/// This process's handling of a worker's frames: the inputs are the worker's messages, and the
/// outputs are frames and slots.
pub(super) trait Part: Sized + Send + 'static {
    type Handle: WorkerHandle<Part = Self>;
    /// The objects that it needs for slots that the worker uses directly.
    type Slots: Send;

    fn new(end: Self::Handle, given: AcceptedMemory<Self::Slots>, waker: &Arc<Waker>) -> Self;

    /// Handles a message of the worker about a frame or a slot, which the session has allowed.
    /// Returns its immediate outcome, if any.
    fn handle_message(&mut self, message: &Message) -> Option<Outcome>;

    /// Notes that the program may have published a frame or returned a slot.
    fn woken(&mut self) {}

    /// Processes what the worker has finished. Returns one outcome per call, until there are no
    /// more. Does not block.
    ///
    /// # Errors
    /// A description of the violation, if the worker's memory or values are not what it announced.
    fn advance(&mut self) -> Result<Option<Outcome>, String>;

    /// Returns `true` while the worker has announced something that it has not finished.
    fn is_busy(&self) -> bool;

    /// Returns `true` while this process copies a frame that the worker has finished, or is about
    /// to: only the copy is waited for.
    fn is_copying(&self) -> bool {
        false
    }

    /// Returns `true` while frames that were submitted for the worker are on their way to it,
    /// delayed only by this process's queue.
    fn has_frames_to_send(&self) -> bool {
        false
    }

    /// Returns the time after which [`advance`](Self::advance) is to be called again, if it waits
    /// for an event without a notification.
    fn retry_delay(&self) -> Option<Duration>;

    /// Stops giving slots or frames to the worker.
    fn close(&mut self);

    /// Handles a slot whose message could not be sent to the worker, which is given nothing more.
    fn return_unsent(&mut self, _handed: &HandedSlot) {
        self.close();
    }

    /// Returns the number of announced signals that were not made.
    fn pending_signals(&self) -> usize;

    /// Returns `true` if only the worker itself can finish what it has announced.
    fn needs_worker(&self) -> bool;

    /// Frees memory that was created for the worker, which is not used any more.
    fn release(&mut self);

    /// Describes the announcement that the worker has not finished within `limit` from the end of
    /// the previous one, although only the worker delays it: it is killed for that. For a program
    /// that `leaves`, a delay by Vulkan is no excuse unless Vulkan makes progress.
    fn describe_overrun(&mut self, _limit: Duration, _leaves: bool) -> Option<String> {
        None
    }

    /// Returns `true` if there are [awaited frames](Self::awaited_frames).
    fn is_waited_for(&self) -> bool {
        !self.awaited_frames().is_empty()
    }

    /// Returns the exchange's numbers of the frames for which enqueued work waits for the worker,
    /// or may wait since the worker has set its timeline back.
    fn awaited_frames(&self) -> Box<[u64]> {
        Box::default()
    }

    /// Signals the values that the worker owes and will not signal any more, if enqueued work waits
    /// for them, and those below which it has set its timeline back. Its connection has ended, and
    /// its process if `dead`.
    fn settle_pending(&mut self, _dead: bool) -> Settled {
        Settled::default()
    }

    /// Abandons the frames in progress. If the worker is `quiet`, it no longer uses its slots.
    /// Returns the handle, and whether the exchange owns all of its slots again.
    fn stop(self, quiet: bool) -> (Self::Handle, bool);
}

/// The signals that were made in a worker's place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Settled {
    /// The frames that will not be complete.
    pub(super) torn: Box<[u64]>,
    /// The highest owed value of the exchange's timeline, if any.
    pub(super) value: Option<u64>,
}

/// Number of frames that a worker has taken back. A hostile worker may take back any number, so
/// only the first is logged, and the total once the worker is lost.
#[derive(Debug, Default)]
pub(super) struct TornFrames(u64);

impl TornFrames {
    /// Counts a frame. Returns `true` for the first.
    pub(super) fn add(&mut self) -> bool {
        self.0 += 1;
        self.0 == 1
    }

    pub(super) fn log_total(&self, exchange: &str) {
        if self.0 > 1 {
            log_warn!("exchange \"{exchange}\": the worker reported {} torn frames in total", self.0);
        }
    }
}

/// Interval between attempts, if the awaited event has no notification.
pub(super) const RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// Maximum interval at which an owed value is checked. It is the resolution of the time of a worker
/// that overruns its limit.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// An outcome of a worker's frames.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// The number of a frame of the worker that the reader may take from now on.
    pub(super) published: Option<u64>,
    /// A slot that the worker owns from now on.
    pub(super) handed: Option<HandedSlot>,
}

/// A slot that the worker owns: to write to, or with a frame to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HandedSlot {
    pub(super) slot: usize,
    /// The frame that the slot holds, if the worker reads.
    pub(super) frame: Option<u64>,
    /// The value of the renderer's timeline after which the worker may use it; on the CPU, a count.
    pub(super) value: u64,
}

/// Sleep duration of the thread while it waits for a value without a notification: a sixteenth of
/// the time that it has waited, within limits. The end of a frame that takes 3 ms is observed at
/// most 0.2 ms late, and a kernel that never ends costs a hundred checks per second, each of less
/// than a microsecond.
pub(super) struct Backoff {
    /// Time of the last event.
    since: Instant,
}

impl Backoff {
    /// A slot can be reused at most once in this time, which bounds the rate of the shortest
    /// frames.
    const MIN: Duration = Duration::from_micros(20);
    const MAX: Duration = Duration::from_millis(10);

    pub(super) fn new() -> Self {
        Self { since: Instant::now() }
    }

    /// Makes the sleeps of the calling thread end on time. By default, Linux ends them up to 50 µs
    /// late, to wake the processor less often.
    pub(super) fn set_precise_sleep() {
        if let Err(error) = rustix::thread::set_current_timer_slack(NonZeroU64::new(1_000)) {
            log_warn!("frames of workers are seen up to 50 µs late: the timer slack cannot be set: {error}");
        }
    }

    /// Restarts the wait after an event.
    pub(super) fn reset(&mut self) {
        *self = Self::new();
    }

    pub(super) fn delay(&self) -> Duration {
        (self.since.elapsed() / 16).clamp(Self::MIN, Self::MAX)
    }
}

/// Describes the violation of a worker that has signaled the value that lost devices report.
const INVALID_VALUE: &str = "it has reached 2^64 - 1, which is not a valid value";

/// Returns the value of `computed` that a worker with CUDA in step has reached. Drops all frames
/// and returns `None` if the device is lost.
///
/// # Errors
/// A description of the violation, if the worker has signaled an invalid value or has set its
/// timeline back. The limit of the owed frames would not notice that: they may not be due.
pub(super) fn reached_value<E>(what: &str, end: &E, frames: &mut PendingFrames) -> Result<Option<u64>, String>
where
    E: RemoteHandle + Deref<Target = WorkerState<E::Resources>>,
{
    match end.computed() {
        Ok(u64::MAX) => Err(format!("{what}: {INVALID_VALUE}")),
        Ok(value) => describe_lower(value, frames).map_or(Ok(Some(value)), |fall| Err(format!("it {fall}"))),
        Err(error) => worker_fault(what, Err(error), end).map(|()| {
            frames.clear();
            None
        }),
    }
}

/// Converts an error with an object that a worker was given into the reason for ending its
/// connection. The loss of the device is not the worker's fault, and the program's handle reports
/// it.
pub(super) fn worker_fault(what: &str, result: Result<()>, end: &impl RemoteHandle) -> Result<(), String> {
    match result {
        Err(error) if !error.is_device_lost() => Err(format!("{what}: {error}")),
        // The device is alive, so the worker has signaled the value that lost devices report.
        Err(_) if !end.is_lost() => Err(format!("{what}: {INVALID_VALUE}")),
        _ => Ok(()),
    }
}

/// Signals the highest value that a worker with CUDA has announced, unless its timeline has that
/// value.
///
/// # Safety
/// The worker's process has ended or has closed the exchange, as for [`WorkerState::release`].
pub(super) unsafe fn release_gpu<E>(end: &E)
where
    E: RemoteHandle + Deref<Target = WorkerState<E::Resources>>,
{
    // SAFETY: upheld by the caller. No later worker gets the timeline.
    match unsafe { end.release() } {
        // Nothing waits on a lost device.
        Err(error) if !error.is_device_lost() => {
            log_error!("exchange \"{}\": the Vulkan queue may hang: {error}", end.exchange());
        }
        _ => {}
    }
}

/// Returns the slots of a worker that no longer uses them to the exchange.
pub(super) fn reclaim_slots(end: &impl RemoteHandle) {
    end.remote_slots().into_iter().for_each(|slot| end.reclaim(slot));
}

/// Converts a slot number in a message to an index.
pub(super) fn index(slot: u32) -> usize {
    usize::try_from(slot).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_torn_frame_is_logged() {
        let mut torn_frames = TornFrames::default();
        assert_eq!([(); 3].map(|()| torn_frames.add()), [true, false, false]);
        assert_eq!(torn_frames.0, 3);
    }
}
