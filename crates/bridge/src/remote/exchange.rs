//! The exchange in step with a worker in another process.
#![allow(unsafe_code)] // Recording.

use std::time::{Duration, Instant};

use vk_export::Queue;
use vk_export::ash::vk;

use super::accepted::Remote;
use super::in_step::{InStep, shared_methods};
use crate::compute::Compute;
use crate::error::Result;
use crate::exchange::submit::parts::SubmitParts;
use crate::exchange::{ExchangeInfo, InitialTurn, Lease, ProgramHalf as _, RenderTurn, WorkerWriter};
use crate::resources::Resources;

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
    shared: InStep<WorkerWriter<R>>,
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
        InStep::new(self, info, resources, |remote| remote.require_trust(info.name))
            .map(|shared| RemoteExchangeReader { shared })
    }
}

impl<R: Resources> RemoteExchangeReader<R> {
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
        self.shared.program.check_dropped()?;
        let status = self.shared.workers.status();
        if let Some(torn) = status.take_torn_error() {
            return Err(torn);
        }
        if !self.shared.program.keep_pace(timeout)? {
            return self.check_behind_frames().map(|()| None);
        }
        let left = timeout.saturating_sub(start.elapsed());
        let Some(turn) = self.shared.program.take(left, || status.is_lost()) else {
            return self.check_behind_frames().map(|()| None);
        };
        // Checked last: after a failure, the thread that copies frames of the CPU signals them,
        // too.
        if let Err(error) = self.shared.program.check_compute() {
            turn.skip();
            return Err(error);
        }
        Ok(Some(turn))
    }

    /// Like [`check_worker`](Self::check_worker), but reports a lost worker only after its frames.
    fn check_behind_frames(&self) -> Result<()> {
        // Queried first: a worker announces no more frames once it is lost.
        let is_lost = self.shared.workers.status().is_lost();
        if is_lost && self.shared.program.is_empty() {
            self.check_worker()
        } else {
            self.shared.program.check_compute()
        }
    }

    /// Checks that a worker is connected.
    ///
    /// # Errors
    /// [`Error::PeerLost`](crate::Error::PeerLost) once its process or its connection has ended, or
    /// it was killed or disconnected, until [`reconnect`](Self::reconnect). If `dead` is `true`,
    /// the values that it owed have been signaled. [`Error::FramesTorn`](crate::Error::FramesTorn)
    /// and [`Error::HostFailed`](crate::Error::HostFailed) as for [`next`](Self::next).
    pub fn check_worker(&self) -> Result<()> {
        self.shared.check_worker()
    }

    /// Replaces a lost worker with another one, on the same slots. Its frames continue the
    /// numbering of the previous worker's.
    ///
    /// Does not wait for a worker, except to complete a [`disconnect`](Self::disconnect) that was
    /// called under the queue's lock, and for up to one second if the previous worker has just set
    /// its timeline back and is killed. It is refused while a previous worker that closed its
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
        self.shared.workers.reconnect(remote)
    }

    /// Returns the frame numbers that a lost worker whose process still runs has announced but not
    /// finished. The queue may be waiting for them, and [`reconnect`](Self::reconnect) is refused.
    /// If the worker owes no frame but has set its timeline back, so that the queue may be waiting
    /// for a frame that it had finished, returns the last of these frames. Empty once the frames
    /// have arrived, or once the worker was killed at its limit and their values were signaled in
    /// its place, which [`check_worker`](Self::check_worker) reports. Until then, do not accept the
    /// next worker from the [`Listener`](crate::Listener).
    pub fn owed_frames(&self) -> Box<[u64]> {
        self.shared.workers.status().owed()
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
        self.shared.workers.disconnect();
    }

    /// Returns `true` if new images wait for their first hand-over, as
    /// [`Exchange::needs_initial`](crate::Exchange::needs_initial). Until then, the worker gets no
    /// slot.
    pub fn needs_initial(&self) -> bool {
        self.shared.program.needs_initial()
    }
}

shared_methods!(RemoteExchangeReader);

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
#[path = "late_tests.rs"]
mod late;

#[cfg(test)]
#[path = "traced_tests.rs"]
mod traced;
