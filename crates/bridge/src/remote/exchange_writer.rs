//! The exchange in step with a worker in another process that reads.
#![allow(unsafe_code)] // Recording.

use std::time::Duration;

use vk_export::Queue;
use vk_export::ash::vk;

use super::accepted::Remote;
use super::in_step::{InStep, shared_methods};
use crate::compute::Compute;
use crate::error::{Error, Result};
use crate::exchange::submit::parts::SubmitParts;
use crate::exchange::{
    ExchangeInfo, InitialTurn, Lease, ProgramHalf as _, RenderFirstRemote, RenderTurn, WorkerReader,
};
use crate::resources::Resources;

/// An exchange in step with a worker in another process that reads, created by
/// [`Remote::exchange_render_first`]. The worker gets each frame that Vulkan draws, once and in
/// order.
///
/// [`begin`](Self::begin) returns the turn of the next frame. As soon as it is submitted, a worker
/// that computes with CUDA gets it, and its stream waits on the GPU until the frame is drawn.
/// Vulkan's next commands that use the slot wait on the GPU until the worker is done with it, so
/// **the queue waits for another process**:
/// - A worker that has returned a slot but does not complete its work on it within
///   [`ExchangeInfo::timeout`] of the previous one, although nothing else delays it, is killed,
///   even if it is stopped. A worker that keeps its slots is not killed: the queue does not wait
///   for them, and `begin` returns no turn. A worker with CUDA that sets its timeline back is also
///   killed if it owes a value or submitted commands may still wait for the timeline.
/// - Once its process has ended, the highest value that it owed is signaled in its place, and the
///   queue continues. [`check_worker`](Self::check_worker) reports it ([`Error::PeerLost`], `owed`
///   and `signaled`).
///
/// For a worker on the CPU, a thread of this process copies each frame into memory that the worker
/// reads, and no submission waits for the worker.
///
/// Dropping it, or [`disconnect`](Self::disconnect), waits in the same way for the slots that the
/// worker owes, so that nothing is left waiting: for up to [`ExchangeInfo::timeout`] for each slot
/// while the worker makes progress, and for one timeout if neither the worker nor Vulkan does.
pub struct RemoteExchangeWriter<R: Resources> {
    shared: InStep<WorkerReader<R>>,
}

impl Remote {
    /// Offers an exchange in step to the worker, which reads what Vulkan draws, and waits until the
    /// worker accepts it, for at most [`ExchangeInfo::timeout`]. The worker gets each frame once
    /// and in order, like the compute side of
    /// [`Exchange::render_first`](crate::Exchange::render_first) in one process. It can hold as
    /// many frames as there are slots.
    ///
    /// [`ExchangeInfo::timeout`] is also the worker's limit for each slot; see
    /// [`RemoteExchangeWriter`]. Frames are copied for a worker on the CPU. A worker that computes
    /// with CUDA reads the slots directly.
    ///
    /// # Errors
    /// As [`exchange`](Self::exchange), and [`Error::InvalidArgument`] if
    /// [`ExchangeInfo::frames_in_flight`] is set, and for a worker that speaks an older version of
    /// the protocol.
    pub fn exchange_render_first<R: Resources>(
        self,
        info: &ExchangeInfo<'_>,
        resources: R,
    ) -> Result<RemoteExchangeWriter<R>> {
        let check = |remote: &Self| {
            remote.require_trusted_reader(info.name)?;
            if info.frames_in_flight.is_some() {
                return Err(Error::invalid(
                    format!("exchange \"{}\"", info.name),
                    "frames that a worker reads in step are in flight until it gives their slots back; leave \
                     `ExchangeInfo::frames_in_flight` unset and limit them by `slots`",
                ));
            }
            Ok(())
        };
        InStep::new(self, info, resources, check).map(|shared| RemoteExchangeWriter { shared })
    }
}

impl<R: Resources> RemoteExchangeWriter<R> {
    /// Begins a frame and returns its turn, which has a slot to draw to. Waits for a slot on the
    /// host for at most `timeout`, and returns `None` if the worker still holds all of them. For
    /// work of the worker on the slot that is not complete, only the GPU waits.
    ///
    /// Submit, lend or skip the turn before you begin the next frame. The worker does not receive
    /// frames that are skipped.
    ///
    /// # Errors
    /// [`Error::PeerLost`] once the worker is lost, until [`reconnect`](Self::reconnect);
    /// [`Error::TurnOpen`] while the last turn is open, [`Error::TurnLost`] once after one was
    /// dropped; [`Error::HostFailed`] once frames can no longer be copied for a worker on the CPU,
    /// for example because one was not drawn within [`ExchangeInfo::timeout`]: create a new
    /// exchange.
    pub fn begin(&mut self, timeout: Duration) -> Result<Option<RenderTurn<R, RenderFirstRemote>>> {
        self.check_worker()?;
        let status = self.shared.workers.status();
        match self.shared.program.begin(timeout, || status.is_lost())? {
            Some(turn) => Ok(Some(turn)),
            None => self.check_worker().map(|()| None),
        }
    }

    /// Checks that a worker is connected.
    ///
    /// # Errors
    /// [`Error::PeerLost`] once its process or its connection has ended, or it was killed or
    /// disconnected, until [`reconnect`](Self::reconnect). If `dead` is `true`, the values that it
    /// owed have been signaled. [`Error::HostFailed`] as for [`begin`](Self::begin).
    pub fn check_worker(&self) -> Result<()> {
        self.shared.check_worker()
    }

    /// Replaces a lost worker with another one, on the same slots. Frame numbers continue. No
    /// worker gets the frames that were submitted in between, except the last ones with a worker on
    /// the CPU.
    ///
    /// Does not wait for a worker, as
    /// [`RemoteExchangeReader::reconnect`](crate::RemoteExchangeReader::reconnect):
    /// [`begin`](Self::begin) waits until the worker has accepted the exchange, and
    /// [`check_worker`](Self::check_worker) reports if it refuses or does not answer within
    /// [`ExchangeInfo::timeout`]. It is refused while a previous worker that closed its connection,
    /// but still runs, [owes](Self::owed_frames) values. A worker that computes with CUDA gets the
    /// slots and new timelines once the previous worker can no longer use them, as with
    /// [`RemoteLatestReader::reconnect`](crate::RemoteLatestReader::reconnect), and once Vulkan's
    /// commands with the slots have ended: submit or skip a turn that is still held.
    ///
    /// # Errors
    /// As [`RemoteExchangeReader::reconnect`](crate::RemoteExchangeReader::reconnect).
    pub fn reconnect(&mut self, remote: Remote) -> Result<()> {
        self.shared.workers.reconnect(remote)
    }

    /// Returns the numbers of the frames whose slots a lost worker whose process still runs has
    /// returned but not finished. The queue may be waiting for it, and
    /// [`reconnect`](Self::reconnect) is refused. If the worker owes nothing but has set its
    /// timeline back, returns the last frame that it had finished. Empty once the worker has
    /// finished them, or once it was killed at its limit and the values that it owed were signaled
    /// in its place, which [`check_worker`](Self::check_worker) reports. Until then, do not accept
    /// the next worker from the [`Listener`](crate::Listener).
    pub fn owed_frames(&self) -> Box<[u64]> {
        self.shared.workers.status().owed()
    }

    /// Closes the connection and notifies the worker, after the frames that were submitted: a
    /// worker on the CPU gets those that are drawn and copied within half a second. Waits for each
    /// slot that the worker has returned but not finished, up to its limit, and kills a worker that
    /// exceeds it; with a worker on the CPU there are none. If the process has not ended a second
    /// later, a thread waits for that and signals in its place; until then,
    /// [`owed_frames`](Self::owed_frames) returns the frames. [`close`](Self::close) and dropping
    /// leave this to that thread, too, and wait for it if the device was adopted without
    /// [`keep_alive`](crate::AdoptInfo::keep_alive).
    ///
    /// On a thread that has locked the queue, neither this nor dropping waits, as with
    /// [`RemoteExchangeReader::disconnect`](crate::RemoteExchangeReader::disconnect).
    pub fn disconnect(&mut self) {
        self.shared.workers.disconnect();
    }

    /// Returns `true` if new images wait for their first hand-over, as
    /// [`Exchange::needs_initial`](crate::Exchange::needs_initial). Until then,
    /// [`begin`](Self::begin) returns an error.
    pub fn needs_initial(&self) -> bool {
        self.shared.program.needs_initial()
    }
}

shared_methods!(RemoteExchangeWriter);

#[cfg(test)]
#[path = "exchange_writer_tests.rs"]
mod tests;
