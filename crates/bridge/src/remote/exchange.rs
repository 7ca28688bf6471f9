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
use crate::exchange::parts::SubmitParts;
use crate::exchange::resources::Resources;
use crate::exchange::{ExchangeInfo, InitialTurn, Lease, RenderTurn, StepAway, Steps};

/// An exchange in step with a worker in another process, made by [`Remote::exchange`]: each of its
/// frames comes once and in order.
///
/// [`next`](Self::next) gives the turn of a frame as soon as the worker has announced it. It is
/// submitted as any other [`RenderTurn`], and its commands wait on the GPU until the frame is
/// finished, so that **the queue waits for another process**:
/// - A worker that does not finish a frame within [`ExchangeInfo::timeout`] of the one before,
///   though nothing but itself delays it, is killed, stopped or not.
/// - Once its process has ended, the highest value that it owed is signaled in its place: the
///   queue goes on, with whatever is in the slots of those frames.
///   [`check_worker`](Self::check_worker) names them ([`Error::PeerLost`], `torn`), and they are
///   withdrawn where they were not taken.
/// - A worker on the CPU signals by messages. Where its connection ends, that is done at once,
///   whether its process lives or not, and slots of torn frames keep what they held.
///
/// Dropping it, or [`disconnect`](Self::disconnect), waits for what the worker has announced in the
/// same way, so that nothing is left waiting: for up to [`ExchangeInfo::timeout`] for each frame,
/// where the worker goes on, and once where neither it nor Vulkan does.
pub struct RemoteExchangeReader<R: Resources> {
    // Field order is drop order: the thread signals what the worker owes before the slots go.
    workers: Workers<StepAway<R>>,
    steps: Arc<Steps<R>>,
    compute: Compute,
    slots: usize,
    name: String,
}

impl Remote {
    /// Offers an exchange in step to the worker, and waits until it has taken it, for at most
    /// [`ExchangeInfo::timeout`]. Each frame comes once and in order, as with
    /// [`Exchange::new`](crate::Exchange::new) in one process: the worker announces it before it is
    /// finished, its turn may be submitted at once, and the GPU waits for it.
    ///
    /// [`ExchangeInfo::timeout`] is the worker's limit for each frame, too. One that does not finish
    /// what it has announced within that time, though nothing but itself delays it, is killed, and
    /// what it owes is signaled in its place: see [`RemoteExchangeReader`].
    ///
    /// A worker on the CPU is copied from, one that computes with CUDA writes the slots themselves,
    /// as in [`latest`](Self::latest).
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] where a side does not allow it
    /// ([`AcceptInfo::trust`](crate::AcceptInfo::trust)), for more than 64 slots, and for a pool;
    /// else as [`latest`](Self::latest).
    pub fn exchange<R: Resources>(self, info: &ExchangeInfo<'_>, resources: R) -> Result<RemoteExchangeReader<R>> {
        RemoteExchangeReader::new(self, info, resources)
    }
}

impl<R: Resources> RemoteExchangeReader<R> {
    pub(super) fn new(remote: Remote, info: &ExchangeInfo<'_>, resources: R) -> Result<Self> {
        let (remote, compute) = remote.prepare(|remote| {
            remote.require_trust(info.name)?;
            remote.compute_in_step(info)
        })?;
        Self::of(remote, compute, info, resources)
    }

    fn of(remote: Remote, compute: Compute, info: &ExchangeInfo<'_>, resources: R) -> Result<Self> {
        let mut kinds = Vec::new();
        resources.kinds(&mut kinds);
        let (remote, away) = remote.prepare(|_| StepAway::new(&compute, info, &resources))?;
        let steps = away.steps();
        let workers = Workers::new(remote, &in_step(info), kinds, away)?;
        let waked = Arc::clone(&steps);
        workers.status().on_loss(move || waked.wake());
        Ok(Self { workers, steps, compute, slots: info.slots, name: info.name.to_owned() })
    }

    /// Waits on the host for the next frame that the worker announces, for at most `timeout`, and
    /// returns its turn; `None` if there is none by then, or if [`ExchangeInfo::frames_in_flight`]
    /// frames are unfinished. The frame itself may be unfinished: its commands wait on the GPU.
    ///
    /// Each turn is to be submitted, lent or skipped; several may be held, up to the number of
    /// slots, and submitted in any order.
    ///
    /// # Errors
    /// [`Error::PeerLost`] once the worker is lost and all of its frames that are whole were taken,
    /// until [`reconnect`](Self::reconnect); [`Error::FramesTorn`] once for frames of an earlier
    /// worker of which the program was not told before; [`Error::TurnLost`] once after a turn was
    /// dropped; [`Error::Timeout`] where [`ExchangeInfo::frames_in_flight`] frames do not end
    /// within [`ExchangeInfo::timeout`], and `timeout` is not shorter; [`Error::HostFailed`] once
    /// frames of a worker on the CPU can no longer be copied, for example since Vulkan has not been
    /// done with a slot within [`ExchangeInfo::timeout`]: make a new exchange.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<RenderTurn<R>>> {
        let start = Instant::now();
        self.steps.check_dropped()?;
        let status = self.workers.status();
        if let Some(torn) = status.tell_torn() {
            return Err(torn);
        }
        if !self.steps.keep_pace(timeout)? {
            return self.check_behind_frames().map(|()| None);
        }
        let left = timeout.saturating_sub(start.elapsed());
        let Some(turn) = self.steps.take(left, || status.is_lost()) else {
            return self.check_behind_frames().map(|()| None);
        };
        // Asked last: the thread that copies frames of the CPU signals them after a failure, too.
        if let Err(error) = self.steps.check_compute() {
            turn.skip();
            return Err(error);
        }
        Ok(Some(turn))
    }

    /// [`check_worker`](Self::check_worker), where a worker that is lost is told of behind its
    /// frames.
    fn check_behind_frames(&self) -> Result<()> {
        // Asked first: a worker announces no more once it is lost.
        let is_lost = self.workers.status().is_lost();
        if is_lost && self.steps.is_empty() { self.check_worker() } else { self.steps.check_compute() }
    }

    /// The process of the worker, or of the last one.
    pub fn pid(&self) -> u32 {
        self.workers.process()
    }

    /// Checks that a worker is connected.
    ///
    /// # Errors
    /// [`Error::PeerLost`] once its process or its connection has ended, or it was killed or
    /// disconnected, until [`reconnect`](Self::reconnect). Where `dead` is `true`, what it owed is
    /// signaled. [`Error::FramesTorn`] and [`Error::HostFailed`] as for [`next`](Self::next).
    pub fn check_worker(&self) -> Result<()> {
        self.workers.require_worker()?;
        self.steps.check_compute()
    }

    /// Puts another worker in the place of one that is lost, with the same slots. Its frames follow
    /// those of the one before, with the next numbers.
    ///
    /// Waits for nobody, but for what a [`disconnect`](Self::disconnect) under the queue's lock has
    /// left to wait for. While a last worker that has closed its connection and lives on
    /// [owes](Self::owed) frames, it is refused: they come, or that worker is killed at the limit of
    /// one of them.
    /// [`check_worker`](Self::check_worker) tells if the worker refuses
    /// the exchange or says nothing within [`ExchangeInfo::timeout`]. One that computes with CUDA
    /// gets the slots and new timelines once the one before cannot use them any more, as with
    /// [`RemoteLatestReader::reconnect`](crate::RemoteLatestReader::reconnect), and Vulkan's commands with
    /// frames of that one have ended: turns that are still held are to be submitted or skipped.
    ///
    /// # Errors
    /// As [`RemoteLatestReader::reconnect`](crate::RemoteLatestReader::reconnect);
    /// [`Error::InvalidArgument`] for a worker without trust, and [`Error::FramesOwed`] while the
    /// last one owes frames. The connection with the worker that was to come is closed.
    pub fn reconnect(&mut self, remote: Remote) -> Result<()> {
        self.workers.reconnect(remote)
    }

    /// The frames that a worker which is lost and lives on has announced and not finished, by the
    /// exchange's numbers: the queue may wait for them, and
    /// [`reconnect`](Self::reconnect) is refused. Empty once they have come, or the worker was
    /// killed at its limit and their values signaled in its place, of which
    /// [`check_worker`](Self::check_worker) tells. Until then leave the next worker with the
    /// [`Listener`](crate::Listener).
    pub fn owed_frames(&self) -> Box<[u64]> {
        self.workers.status().owed()
    }

    /// Ends the connection with the worker, which is told. Waits for frames that it has announced,
    /// for each up to its limit, and kills one that overruns it; on the CPU they are torn at once.
    /// Where its process has not ended a second later, a thread waits for that and signals in its
    /// place: [`owed_frames`](Self::owed_frames) names the frames meanwhile. [`close`](Self::close) and dropping
    /// leave it to that thread, too, and wait for it if the device was adopted without
    /// [`keep_alive`](crate::AdoptInfo::keep_alive).
    ///
    /// On a thread that has locked a queue of the device ([`Queue::with`]) it waits for nothing:
    /// the thread of the connection, which may be waiting for the queue, ends it, and
    /// [`check_worker`](Self::check_worker) tells once it has. The next call of this,
    /// [`reconnect`](Self::reconnect) or [`close`](Self::close) without the lock waits for that.
    /// Dropping under the lock waits for nothing either, and leaves that thread behind: it uses the
    /// device until it has ended, which takes as long as this would have, and the device has to
    /// outlive that.
    pub fn disconnect(&mut self) {
        self.workers.disconnect();
    }

    /// Ends the exchange, as [`Exchange::close`](crate::Exchange::close) does, and what
    /// [`disconnect`](Self::disconnect) does before.
    ///
    /// # Errors
    /// As [`Exchange::close`](crate::Exchange::close).
    pub fn close(mut self) -> Result<()> {
        drop(self.workers.end()?);
        self.steps.close()
    }

    /// Returns the name that it was made with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the number of slots.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// The compute side: the thread that copies the frames of a worker on the CPU, or
    /// [`Backend::Remote`](crate::Backend::Remote).
    pub fn compute(&self) -> &Compute {
        &self.compute
    }

    /// The queue that turns are submitted to; its family is that of the turns' barriers.
    pub fn queue(&self) -> &Queue {
        self.steps.queue(&self.compute)
    }

    /// A [`Lease`] on the Vulkan objects in a slot.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if `slot` is out of range.
    pub fn lease(&self, slot: usize) -> Result<Lease> {
        self.steps.state().checked_lease(slot)
    }

    /// Returns `true` if new images wait for their first hand-over, as
    /// [`Exchange::needs_initial`](crate::Exchange::needs_initial). Until then the worker has no
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
        // SAFETY: handed on to the caller.
        unsafe { self.steps.state().record_initial(commands) }
    }

    /// A submission that brings back the slots of lent turns that were dropped, as
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
        // Its thread withdraws what is torn; the rest was not taken.
        self.workers.leave();
        self.steps.skip_all();
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
