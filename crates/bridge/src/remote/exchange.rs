//! The exchange in step with a worker in another process.
#![allow(unsafe_code)] // Recording.

use std::sync::Arc;
use std::time::{Duration, Instant};

use vk_export::Queue;
use vk_export::ash::vk;

use super::accepted::Remote;
use super::terms::in_step;
use super::workers::Workers;
use crate::compute::Compute;
use crate::error::Result;
use crate::exchange::resources::Resources;
use crate::exchange::submit::parts::SubmitParts;
use crate::exchange::{ExchangeInfo, InitialTurn, Lease, RemoteTurns, RenderTurn, WorkerWriter};

/// An exchange in step with a worker in another process, created by [`Remote::exchange`]. Each
/// frame of the worker arrives once and in order.
///
/// [`next`](Self::next) returns the turn of a frame as soon as the worker has announced it. It is
/// submitted like any other [`RenderTurn`], and its commands wait on the GPU until the frame is
/// finished, so **the queue waits for another process**:
/// - A worker that does not finish a frame within [`ExchangeInfo::timeout`] of the previous one,
///   although nothing else delays it, is killed, even if it is stopped. A worker with CUDA
///   that sets its timeline back is also killed if it owes a value or submitted commands may still
///   wait for the timeline.
/// - Once its process has ended, the highest value that it owed is signaled in its place: the queue
///   continues, with whatever is in the slots of those frames. [`check_worker`](Self::check_worker)
///   names these frames ([`Error::PeerLost`](crate::Error::PeerLost), `torn`), and those that were
///   not taken are withdrawn.
/// - A worker on the CPU signals by messages. If its connection ends, the values are signaled at
///   once, whether or not its process still runs, and slots of torn frames keep their contents.
///
/// Dropping it, or [`disconnect`](Self::disconnect), waits for the announced frames in the same
/// way, so that nothing is left waiting: for up to [`ExchangeInfo::timeout`] for each frame while
/// the worker makes progress, and for one timeout if neither the worker nor Vulkan does.
pub struct RemoteExchangeReader<R: Resources> {
    // Field order is drop order: the thread signals what the worker owes before the slots are
    // dropped.
    workers: Workers<WorkerWriter<R>>,
    steps: Arc<RemoteTurns<R>>,
    compute: Compute,
    slots: usize,
    name: String,
    resources: R,
}

impl Remote {
    /// Offers an exchange in step to the worker, and waits until the worker accepts it, for at most
    /// [`ExchangeInfo::timeout`]. Each frame arrives once and in order, as with
    /// [`Exchange::new`](crate::Exchange::new) in one process: the worker announces it before it is
    /// finished, its turn may be submitted at once, and the GPU waits for it.
    ///
    /// [`ExchangeInfo::timeout`] is also the worker's limit for each frame. A worker that does not
    /// finish an announced frame within that time, although nothing else delays it, is killed, and
    /// the values that it owes are signaled in its place; see [`RemoteExchangeReader`].
    ///
    /// The frames of a worker on the CPU are copied into the slots. A worker that computes with
    /// CUDA writes the slots directly, as in [`latest`](Self::latest).
    ///
    /// # Errors
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if a side does not allow it
    /// ([`AcceptInfo::trust`](crate::AcceptInfo::trust)), for more than 64 slots, and for a pool;
    /// otherwise as [`latest`](Self::latest).
    pub fn exchange<R: Resources>(self, info: &ExchangeInfo<'_>, resources: R) -> Result<RemoteExchangeReader<R>> {
        RemoteExchangeReader::new(self, info, resources)
    }
}

impl<R: Resources> RemoteExchangeReader<R> {
    pub(super) fn new(remote: Remote, info: &ExchangeInfo<'_>, resources: R) -> Result<Self> {
        let (remote, compute) = remote.prepare(|remote| {
            remote.require_trust(info.name)?;
            remote.compute_for_exchange(info)
        })?;
        Self::of(remote, compute, info, resources)
    }

    fn of(remote: Remote, compute: Compute, info: &ExchangeInfo<'_>, resources: R) -> Result<Self> {
        let mut kinds = Vec::new();
        resources.kinds(&mut kinds);
        let (remote, handle) = remote.prepare(|_| WorkerWriter::new(&compute, info, &resources))?;
        let steps = handle.steps();
        let workers = Workers::new(remote, &in_step(info), kinds, handle)?;
        let waked = Arc::clone(&steps);
        workers.status().set_on_loss(move || waked.wake());
        Ok(Self { workers, steps, compute, slots: info.slots, name: info.name.to_owned(), resources })
    }

    /// Waits on the host for the next frame that the worker announces, for at most `timeout`, and
    /// returns its turn; `None` if there is none by then, or if [`ExchangeInfo::frames_in_flight`]
    /// frames are unfinished. The frame itself may be unfinished: its commands wait on the GPU.
    ///
    /// Submit, lend or skip each turn. Several may be held, up to the number of slots, and
    /// submitted in any order.
    ///
    /// # Errors
    /// [`Error::PeerLost`](crate::Error::PeerLost) once the worker is lost and all of its complete
    /// frames were taken, until [`reconnect`](Self::reconnect);
    /// [`Error::FramesTorn`](crate::Error::FramesTorn) once for torn frames of an earlier worker
    /// that were not reported before; [`Error::TurnLost`](crate::Error::TurnLost) once after a turn
    /// was dropped; [`Error::Timeout`](crate::Error::Timeout) if [`ExchangeInfo::frames_in_flight`]
    /// frames do not complete within [`ExchangeInfo::timeout`], and `timeout` is not shorter;
    /// [`Error::HostFailed`](crate::Error::HostFailed) once frames of a worker on the CPU can no
    /// longer be copied, for example because Vulkan did not finish with a slot within
    /// [`ExchangeInfo::timeout`]: create a new exchange.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<RenderTurn<R>>> {
        let start = Instant::now();
        self.steps.check_dropped()?;
        let status = self.workers.status();
        if let Some(torn) = status.take_torn_error() {
            return Err(torn);
        }
        if !self.steps.keep_pace(timeout)? {
            return self.check_behind_frames().map(|()| None);
        }
        let left = timeout.saturating_sub(start.elapsed());
        let Some(turn) = self.steps.take(left, || status.is_lost()) else {
            return self.check_behind_frames().map(|()| None);
        };
        // Checked last: after a failure, the thread that copies frames of the CPU signals them,
        // too.
        if let Err(error) = self.steps.check_compute() {
            turn.skip();
            return Err(error);
        }
        Ok(Some(turn))
    }

    /// Like [`check_worker`](Self::check_worker), but reports a lost worker only after its frames.
    fn check_behind_frames(&self) -> Result<()> {
        // Queried first: a worker announces no more frames once it is lost.
        let is_lost = self.workers.status().is_lost();
        if is_lost && self.steps.is_empty() { self.check_worker() } else { self.steps.check_compute() }
    }

    /// Returns the process ID of the worker, or of the last one.
    pub fn pid(&self) -> u32 {
        self.workers.process()
    }

    /// Checks that a worker is connected.
    ///
    /// # Errors
    /// [`Error::PeerLost`](crate::Error::PeerLost) once its process or its connection has ended, or
    /// it was killed or disconnected, until [`reconnect`](Self::reconnect). If `dead` is `true`,
    /// the values that it owed have been signaled. [`Error::FramesTorn`](crate::Error::FramesTorn)
    /// and [`Error::HostFailed`](crate::Error::HostFailed) as for [`next`](Self::next).
    pub fn check_worker(&self) -> Result<()> {
        self.workers.require_worker()?;
        self.steps.check_compute()
    }

    /// Replaces a lost worker with another one, on the same slots. Its frames continue the
    /// numbering of the previous worker's.
    ///
    /// Does not wait for a worker, except to complete a [`disconnect`](Self::disconnect) that was
    /// called under the queue's lock. It is refused while a previous worker that closed its
    /// connection, but still runs, [owes](Self::owed_frames) frames: they arrive, or that worker is
    /// killed at the limit of one of them. [`check_worker`](Self::check_worker) reports if the
    /// worker refuses the exchange or does not answer within [`ExchangeInfo::timeout`]. A worker
    /// that computes with CUDA gets the slots and new timelines once the previous worker can no
    /// longer use them, as with
    /// [`RemoteLatestReader::reconnect`](crate::RemoteLatestReader::reconnect), and once Vulkan's
    /// commands with its frames have ended: submit or skip turns that are still held.
    ///
    /// # Errors
    /// As [`RemoteLatestReader::reconnect`](crate::RemoteLatestReader::reconnect);
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) for a worker without trust, and
    /// [`Error::FramesOwed`](crate::Error::FramesOwed) while the previous worker owes frames. On an
    /// error, the connection with the new worker is closed.
    pub fn reconnect(&mut self, remote: Remote) -> Result<()> {
        self.workers.reconnect(remote)
    }

    /// Returns the frame numbers that a lost worker whose process still runs has announced but not
    /// finished. The queue may be waiting for them, and [`reconnect`](Self::reconnect) is refused.
    /// Empty once the frames have arrived, or once the worker was killed at its limit and their
    /// values were signaled in its place, which [`check_worker`](Self::check_worker) reports. Until
    /// then, do not accept the next worker from the [`Listener`](crate::Listener).
    pub fn owed_frames(&self) -> Box<[u64]> {
        self.workers.status().owed()
    }

    /// Closes the connection and notifies the worker. Waits for each announced frame up to its
    /// limit, and kills a worker that exceeds it; frames of a worker on the CPU are torn at once.
    /// If the process has not ended a second later, a thread waits for that and signals in its
    /// place; until then, [`owed_frames`](Self::owed_frames) returns the frames.
    /// [`close`](Self::close) and dropping leave this to that thread, too, and wait for it if the
    /// device was adopted without [`keep_alive`](crate::AdoptInfo::keep_alive).
    ///
    /// On a thread that has locked a queue of the device ([`Queue::with`]), it does not wait: the
    /// connection's thread, which may be waiting for the queue, closes the connection, and
    /// [`check_worker`](Self::check_worker) reports when it has. The next call of `disconnect`,
    /// [`reconnect`](Self::reconnect) or [`close`](Self::close) without the lock waits for that.
    /// Dropping under the lock does not wait either, and leaves that thread running: it uses the
    /// device for as long as this call would have waited, and the device must outlive it.
    pub fn disconnect(&mut self) {
        self.workers.disconnect();
    }

    /// Disconnects as [`disconnect`](Self::disconnect) does, and then closes the exchange, as
    /// [`Exchange::close`](crate::Exchange::close) does.
    ///
    /// # Errors
    /// As [`Exchange::close`](crate::Exchange::close).
    pub fn close(mut self) -> Result<()> {
        drop(self.workers.end()?);
        self.steps.close()
    }

    /// Returns the resources in each slot.
    pub fn resources(&self) -> &R {
        &self.resources
    }

    /// Returns the exchange's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the number of slots.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Returns the compute side: the thread that copies the frames of a worker on the CPU, or
    /// [`Backend::Remote`](crate::Backend::Remote).
    pub fn compute(&self) -> &Compute {
        &self.compute
    }

    /// Returns the queue that turns are submitted to. The turns' barriers name its family.
    pub fn queue(&self) -> &Queue {
        self.steps.queue(&self.compute)
    }

    /// Returns a [`Lease`] on the Vulkan objects of a slot.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if `slot` is out of range.
    pub fn lease(&self, slot: usize) -> Result<Lease> {
        self.steps.state().checked_lease(slot)
    }

    /// Returns `true` if new images wait for their first hand-over, as
    /// [`Exchange::needs_initial`](crate::Exchange::needs_initial). Until then, the worker gets no
    /// slot.
    pub fn needs_initial(&self) -> bool {
        self.steps.needs_initial()
    }

    /// Submits the first hand-over of new images and waits for it, as
    /// [`Exchange::initialize`](crate::Exchange::initialize).
    ///
    /// # Errors
    /// As [`Exchange::initialize`](crate::Exchange::initialize).
    pub fn initialize(&mut self) -> Result<()> {
        self.steps.state().initialize()
    }

    /// Records the first hand-over of new images, as
    /// [`Exchange::record_initial`](crate::Exchange::record_initial).
    ///
    /// # Errors
    /// As [`Exchange::record_initial`](crate::Exchange::record_initial).
    ///
    /// # Safety
    /// As [`Exchange::record_initial`](crate::Exchange::record_initial).
    pub unsafe fn record_initial(&mut self, commands: vk::CommandBuffer) -> Result<InitialTurn<R>> {
        // SAFETY: the caller guarantees it.
        unsafe { self.steps.state().record_initial(commands) }
    }

    /// Returns the parts of a submission that recovers the slots of dropped lent turns, as
    /// [`Exchange::flush_parts`](crate::Exchange::flush_parts).
    ///
    /// # Errors
    /// As [`Exchange::flush_parts`](crate::Exchange::flush_parts).
    pub fn flush_parts(&mut self) -> Result<Option<SubmitParts>> {
        self.steps.state().flush_parts()
    }
}

impl<R: Resources> Drop for RemoteExchangeReader<R> {
    fn drop(&mut self) {
        // The thread withdraws torn frames; the other frames were not taken.
        self.workers.leave();
        if !self.workers.is_forked() {
            self.steps.skip_all();
        }
    }
}

impl<R: Resources> std::fmt::Debug for RemoteExchangeReader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, slots, process) = (&self.name, self.slots, self.pid());
        write!(f, "RemoteExchangeReader(\"{name}\", {slots} slots, worker process {process})")
    }
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "held_tests.rs"]
mod held;

#[cfg(test)]
#[path = "replaced_tests.rs"]
mod replaced;

#[cfg(test)]
#[path = "traced_tests.rs"]
mod traced;
