//! The exchange in step with a worker in another process that reads.
#![allow(unsafe_code)] // Recording.

use std::sync::Arc;
use std::time::Duration;

use vk_export::Queue;
use vk_export::ash::vk;

use super::accepted::Remote;
use super::terms::in_step;
use super::workers::Workers;
use crate::compute::Compute;
use crate::error::{Error, Result};
use crate::exchange::parts::SubmitParts;
use crate::exchange::resources::Resources;
use crate::exchange::{DrawAway, Draws, ExchangeInfo, InitialTurn, Lease, RenderAway, RenderTurn};

/// An exchange in step with a worker in another process that reads, made by
/// [`Remote::exchange_render_first`]: the worker has each frame that Vulkan draws, once and in
/// order.
///
/// [`begin`](Self::begin) gives the turn of the next frame. As soon as it is submitted, a worker
/// that computes with CUDA has it, whose stream waits on the GPU until it is drawn. In turn
/// Vulkan's next commands with the slot wait on the GPU until the worker is done with it, so that
/// **the queue waits for another process**:
/// - A worker that has given a slot back and does not come to the end of its work with it within
///   [`ExchangeInfo::timeout`] of the one before, though nothing but itself delays it, is killed,
///   stopped or not. One that keeps its slots is not: the queue waits for none of them, and `begin`
///   gives no turn.
/// - Once its process has ended, the highest value that it owed is signaled in its place, and the
///   queue goes on. [`check_worker`](Self::check_worker) tells of it ([`Error::PeerLost`], `owed`
///   and `signaled`).
///
/// For a worker on the CPU a thread of this process copies each frame into memory that the worker
/// reads, and nothing that is submitted waits for the worker.
///
/// Dropping it, or [`disconnect`](Self::disconnect), waits for what the worker owes in the same
/// way, so that nothing is left waiting: for up to [`ExchangeInfo::timeout`] for each slot, where
/// the worker goes on, and once where neither it nor Vulkan does.
pub struct RemoteExchangeWriter<R: Resources> {
    // Field order is drop order: the thread signals what the worker owes before the slots go.
    workers: Workers<DrawAway<R>>,
    draws: Arc<Draws<R>>,
    compute: Compute,
    slots: usize,
    name: String,
}

impl Remote {
    /// Offers an exchange in step to the worker, which reads what Vulkan draws, and waits until it
    /// has taken it, for at most [`ExchangeInfo::timeout`]. The worker has each frame once and in
    /// order, as the compute side of [`Exchange::render_first`](crate::Exchange::render_first) in
    /// one process; it has at most as many as there are slots that it has not given back.
    ///
    /// [`ExchangeInfo::timeout`] is the worker's limit for each slot, too: see
    /// [`RemoteExchangeWriter`]. Frames
    /// are copied for a worker on the CPU, one that computes with CUDA reads the slots themselves.
    ///
    /// # Errors
    /// As [`exchange`](Self::exchange), and [`Error::InvalidArgument`] where
    /// [`ExchangeInfo::frames_in_flight`] is set, and for a worker that speaks an older version of
    /// the protocol.
    pub fn exchange_render_first<R: Resources>(
        self,
        info: &ExchangeInfo<'_>,
        resources: R,
    ) -> Result<RemoteExchangeWriter<R>> {
        RemoteExchangeWriter::new(self, info, resources)
    }
}

impl<R: Resources> RemoteExchangeWriter<R> {
    pub(super) fn new(remote: Remote, info: &ExchangeInfo<'_>, resources: R) -> Result<Self> {
        let (remote, compute) = remote.prepare(|remote| {
            remote.require_trusted_reader(info.name)?;
            if info.frames_in_flight.is_some() {
                return Err(Error::invalid(
                    format!("exchange \"{}\"", info.name),
                    "frames that a worker reads in step are in flight until it gives their slots back; leave \
                     `ExchangeInfo::frames_in_flight` out and bound them by `slots`",
                ));
            }
            remote.compute_in_step(info)
        })?;
        Self::of(remote, compute, info, resources)
    }

    fn of(remote: Remote, compute: Compute, info: &ExchangeInfo<'_>, resources: R) -> Result<Self> {
        let mut kinds = Vec::new();
        resources.kinds(&mut kinds);
        let (remote, away) = remote.prepare(|_| DrawAway::new(&compute, info, &resources))?;
        let draws = away.draws();
        let workers = Workers::new(remote, &in_step(info), kinds, away)?;
        let waked = Arc::clone(&draws);
        workers.status().on_loss(move || waked.wake());
        Ok(Self { workers, draws, compute, slots: info.slots, name: info.name.to_owned() })
    }

    /// Begins a frame and returns its turn, which has a slot to draw to. Waits for a slot on the
    /// host for at most `timeout`, and returns `None` if the worker still holds all of them. Work
    /// of the worker's with the slot that is not complete is waited for on the GPU only.
    ///
    /// Submit, lend or skip the turn before you begin the next frame. The worker does not receive
    /// frames that are skipped.
    ///
    /// # Errors
    /// [`Error::PeerLost`] once the worker is lost, until [`reconnect`](Self::reconnect);
    /// [`Error::TurnOpen`] while the last turn is open, [`Error::TurnLost`] once after one was
    /// dropped; [`Error::HostFailed`] once frames can no longer be copied for a worker on the CPU,
    /// for example since one was not drawn within [`ExchangeInfo::timeout`]: make a new exchange.
    pub fn begin(&mut self, timeout: Duration) -> Result<Option<RenderTurn<R, RenderAway>>> {
        self.check_worker()?;
        let status = self.workers.status();
        match self.draws.begin(timeout, || status.is_lost())? {
            Some(turn) => Ok(Some(turn)),
            None => self.check_worker().map(|()| None),
        }
    }

    /// The process of the worker, or of the last one.
    pub fn pid(&self) -> u32 {
        self.workers.process()
    }

    /// Checks that there is a worker.
    ///
    /// # Errors
    /// [`Error::PeerLost`] once its process or its connection has ended, or it was killed or
    /// disconnected, until [`reconnect`](Self::reconnect). Where `dead` is `true`, what it owed is
    /// signaled. [`Error::HostFailed`] as for [`begin`](Self::begin).
    pub fn check_worker(&self) -> Result<()> {
        self.workers.require_worker()?;
        self.draws.check_compute()
    }

    /// Puts another worker in the place of one that is lost, with the same slots. Frames go on with
    /// the next numbers: those that were submitted and given to no worker are shown to nobody, but
    /// for the last ones on the CPU.
    ///
    /// Waits for nobody: [`begin`](Self::begin) waits until the worker has taken the exchange, and
    /// [`check_worker`](Self::check_worker) tells if it refuses or says nothing within
    /// [`ExchangeInfo::timeout`]. While a last worker that has closed its connection and lives on
    /// [owes](Self::owed) values, it is refused. One that computes with CUDA gets the slots and new
    /// timelines once the one before cannot use them any more, as with
    /// [`RemoteLatestReader::reconnect`](crate::RemoteLatestReader::reconnect), and Vulkan's commands with them
    /// have ended: a turn that is still held is to be submitted or skipped.
    ///
    /// # Errors
    /// As [`RemoteExchangeReader::reconnect`](crate::RemoteExchangeReader::reconnect).
    pub fn reconnect(&mut self, remote: Remote) -> Result<()> {
        self.workers.reconnect(remote)
    }

    /// The frames whose slots a worker which is lost and lives on has given back and is not done
    /// with, by the exchange's numbers: the queue may wait for it, and
    /// [`reconnect`](Self::reconnect) is refused. Empty once it has come to their end, or was
    /// killed at its limit and what it owed signaled in its place, of which
    /// [`check_worker`](Self::check_worker) tells. Until then leave the next worker with the
    /// [`Listener`](crate::Listener).
    pub fn owed_frames(&self) -> Box<[u64]> {
        self.workers.status().owed()
    }

    /// Ends the connection with the worker, which is told. Waits for slots that it has given back
    /// and is not done with, for each up to its limit, and kills one that overruns it; on the CPU
    /// there are none. Where its process has not ended a second later, a thread waits for that and
    /// signals in its place: [`owed_frames`](Self::owed_frames) names the frames meanwhile.
    /// [`close`](Self::close) and dropping leave it to that thread, too, and wait for it if the
    /// device was adopted without [`keep_alive`](crate::AdoptInfo::keep_alive).
    ///
    /// Waits for nothing on a thread that has locked the queue, and neither does dropping, as
    /// [`RemoteExchangeReader::disconnect`](crate::RemoteExchangeReader::disconnect).
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
        self.draws.close()
    }

    /// Returns the name that it was made with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the number of slots.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// The compute side: the thread that copies the frames for a worker on the CPU, or
    /// [`Backend::Remote`](crate::Backend::Remote).
    pub fn compute(&self) -> &Compute {
        &self.compute
    }

    /// The queue that turns are submitted to; its family is that of the turns' barriers.
    pub fn queue(&self) -> &Queue {
        self.draws.queue(&self.compute)
    }

    /// A [`Lease`] on the Vulkan objects in a slot.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if `slot` is out of range.
    pub fn lease(&self, slot: usize) -> Result<Lease> {
        self.draws.state().checked_lease(slot)
    }

    /// Returns `true` if new images wait for their first hand-over, as
    /// [`Exchange::needs_initial`](crate::Exchange::needs_initial). Until then
    /// [`begin`](Self::begin) is refused.
    pub fn needs_initial(&self) -> bool {
        self.draws.needs_initial()
    }

    /// Submits the first hand-over of new images and waits for it, as
    /// [`Exchange::initialize`](crate::Exchange::initialize).
    ///
    /// # Errors
    /// As [`Exchange::initialize`](crate::Exchange::initialize).
    pub fn initialize(&mut self) -> Result<()> {
        self.draws.state().initialize()
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
        unsafe { self.draws.state().record_initial(commands) }
    }

    /// A submission that brings back the slots of lent turns that were dropped, as
    /// [`Exchange::flush_parts`](crate::Exchange::flush_parts).
    ///
    /// # Errors
    /// As [`Exchange::flush_parts`](crate::Exchange::flush_parts).
    pub fn flush_parts(&mut self) -> Result<Option<SubmitParts>> {
        self.draws.state().flush_parts()
    }
}

impl<R: Resources> Drop for RemoteExchangeWriter<R> {
    fn drop(&mut self) {
        self.workers.leave();
    }
}

impl<R: Resources> std::fmt::Debug for RemoteExchangeWriter<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, slots, process) = (&self.name, self.slots, self.pid());
        write!(f, "RemoteExchangeWriter(\"{name}\", {slots} slots, worker process {process})")
    }
}

#[cfg(test)]
#[path = "exchange_writer_tests.rs"]
mod tests;
