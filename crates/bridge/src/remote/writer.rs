//! The writer of an exchange whose reader is in another process.
#![allow(unsafe_code)] // Recording.

use std::ops::Deref;

use vk_export::ash::vk;

use super::accepted::Remote;
use super::workers::Workers;
use crate::error::Result;
use crate::exchange::submit::parts::SubmitParts;
use crate::exchange::{
    Exchange, InitialTurn, LatestInfo, LatestReader, LatestWriter, Newest, RenderFirst, RenderWrite,
};
use crate::resources::Resources;

/// The writer of frames that Vulkan draws for a worker in another process, created by
/// [`Remote::latest_render_first`].
///
/// It dereferences to a [`LatestWriter`]: [`begin`](LatestWriter::begin) returns a slot for the
/// next frame and never waits for the worker, whether it is slow, stops, hangs or dies. Frames that
/// it has not taken are overwritten. [`check_worker`](Self::check_worker) reports a lost worker,
/// and [`reconnect`](Self::reconnect) replaces it with another one. Frames can be drawn without a
/// worker.
///
/// The worker only gets frames that Vulkan has finished, so neither side's GPU waits for the other
/// process. A worker that computes with CUDA reads the slots directly, without a copy; the backend
/// of [`compute`](LatestWriter::compute) is then [`Backend::Remote`](crate::Backend::Remote). For a
/// worker on the CPU, a thread of this process copies each frame that the worker has room for.
pub struct RemoteLatestWriter<R: Resources> {
    // Field order is drop order: the thread returns the reader before both halves are dropped.
    workers: Workers<LatestReader<R, RenderFirst>>,
    writer: LatestWriter<R, RenderFirst>,
}

impl Remote {
    /// Offers an exchange to the worker, which reads the newest frame that Vulkan has drawn, at its
    /// own rate, and waits until the worker accepts it, for at most [`LatestInfo::timeout`]. The
    /// result writes frames, like the writer of
    /// [`Exchange::latest_render_first`](crate::Exchange::latest_render_first).
    ///
    /// Frames are copied for a worker on the CPU; a worker that computes with CUDA reads the slots
    /// directly, as in [`latest`](Self::latest). The worker only gets finished frames, regardless
    /// of [`LatestInfo::newest`].
    ///
    /// # Errors
    /// As [`latest`](Self::latest).
    pub fn latest_render_first<R: Resources>(
        self,
        info: &LatestInfo<'_>,
        resources: R,
    ) -> Result<RemoteLatestWriter<R>> {
        RemoteLatestWriter::new(self, info, resources)
    }
}

impl<R: Resources> RemoteLatestWriter<R> {
    pub(super) fn new(remote: Remote, info: &LatestInfo<'_>, resources: R) -> Result<Self> {
        let mut kinds = Vec::new();
        resources.kinds(&mut kinds);
        let info = LatestInfo { newest: Newest::Finished, ..*info };
        let (remote, (writer, reader)) = remote.prepare(|remote| {
            Exchange::latest_render_first_for(&remote.compute_for_latest(&info)?, &info, resources)
        })?;
        Ok(Self { workers: Workers::new(remote, &info, kinds, reader)?, writer })
    }

    /// Returns the process ID of the worker, or of the last one.
    pub fn pid(&self) -> u32 {
        self.workers.process()
    }

    /// Begins a frame that Vulkan writes, as [`LatestWriter::begin`].
    ///
    /// # Errors
    /// As [`LatestWriter::begin`].
    pub fn begin(&mut self) -> Result<RenderWrite<R>> {
        self.writer.begin()
    }

    /// Submits the first hand-over of new images and waits for it, as [`LatestWriter::initialize`].
    ///
    /// # Errors
    /// As [`LatestWriter::initialize`].
    pub fn initialize(&mut self) -> Result<()> {
        self.writer.initialize()
    }

    /// Records the first hand-over of new images, as [`LatestWriter::record_initial`].
    ///
    /// # Errors
    /// As [`LatestWriter::record_initial`].
    ///
    /// # Safety
    /// As [`LatestWriter::record_initial`].
    pub unsafe fn record_initial(&mut self, commands: vk::CommandBuffer) -> Result<InitialTurn<R>> {
        // SAFETY: the caller guarantees it.
        unsafe { self.writer.record_initial(commands) }
    }

    /// Returns a submission that proves the end of dropped lent turns, as
    /// [`LatestWriter::flush_parts`].
    ///
    /// # Errors
    /// As [`LatestWriter::flush_parts`].
    pub fn flush_parts(&mut self) -> Result<Option<SubmitParts>> {
        self.writer.flush_parts()
    }

    /// Checks that a worker is connected.
    ///
    /// # Errors
    /// [`Error::PeerLost`](crate::Error::PeerLost) once its process or its connection has ended, or
    /// it was disconnected, until [`reconnect`](Self::reconnect).
    pub fn check_worker(&self) -> Result<()> {
        self.workers.require_worker()
    }

    /// Replaces a lost worker with another one, on the same slots. Drawing continues meanwhile: the
    /// call does not wait for the new worker, and [`check_worker`](Self::check_worker) reports if
    /// it refuses the exchange or does not answer within [`LatestInfo::timeout`].
    ///
    /// A worker on the CPU gets memory that the old one never had, and the last frame at once. A
    /// worker that computes with CUDA gets the slots themselves, once the old one can no longer use
    /// them, as with [`RemoteLatestReader::reconnect`](crate::RemoteLatestReader::reconnect). Its
    /// first frame is the newest one that no worker has had, or the next one that is drawn.
    ///
    /// # Errors
    /// As [`RemoteLatestReader::reconnect`](crate::RemoteLatestReader::reconnect).
    pub fn reconnect(&mut self, remote: Remote) -> Result<()> {
        self.workers.reconnect(remote)
    }

    /// Closes the connection and notifies the worker. A worker that computes with CUDA keeps its
    /// slots until its process has ended, see [`reconnect`](Self::reconnect); the writer has enough
    /// others.
    ///
    /// Does not wait on a thread that has locked the queue, as with
    /// [`RemoteExchangeReader::disconnect`](crate::RemoteExchangeReader::disconnect).
    pub fn disconnect(&mut self) {
        self.workers.disconnect();
    }

    /// Ends the exchange, as [`LatestWriter::close`] does.
    ///
    /// # Errors
    /// As [`LatestWriter::close`].
    pub fn close(mut self) -> Result<()> {
        self.workers.end()?.map_or(Ok(()), |reader| self.writer.close(reader))
    }
}

/// No `DerefMut`: see [`RemoteLatestReader`](crate::RemoteLatestReader).
impl<R: Resources> Deref for RemoteLatestWriter<R> {
    type Target = LatestWriter<R, RenderFirst>;

    fn deref(&self) -> &LatestWriter<R, RenderFirst> {
        &self.writer
    }
}

impl<R: Resources> std::fmt::Debug for RemoteLatestWriter<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RemoteLatestWriter({:?}, worker process {})", self.writer, self.pid())
    }
}
