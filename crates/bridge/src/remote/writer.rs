//! The writer of an exchange whose reader is in another process.

use std::ops::{Deref, DerefMut};

use super::accepted::Remote;
use super::workers::Workers;
use crate::error::Result;
use crate::exchange::resources::Resources;
use crate::exchange::{Exchange, LatestInfo, LatestReader, LatestWriter, Newest, RenderFirst};

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
pub struct RemoteWriter<R: Resources> {
    // Field order is drop order: the thread brings the reader back before both halves go.
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
    pub fn latest_render_first<R: Resources>(self, info: &LatestInfo<'_>, resources: R) -> Result<RemoteWriter<R>> {
        RemoteWriter::new(self, info, resources)
    }
}

impl<R: Resources> RemoteWriter<R> {
    pub(super) fn new(remote: Remote, info: &LatestInfo<'_>, resources: R) -> Result<Self> {
        let mut kinds = Vec::new();
        resources.kinds(&mut kinds);
        let info = LatestInfo { newest: Newest::Finished, ..*info };
        let (remote, (writer, reader)) =
            remote.prepare(|remote| Exchange::latest_render_first_of(&remote.compute(&info)?, &info, &resources))?;
        Ok(Self { workers: Workers::new(remote, &info, kinds, reader)?, writer })
    }

    /// Returns the process ID of the worker, or of the last one.
    pub fn process(&self) -> u32 {
        self.workers.process()
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
    /// them, as with [`RemoteReader::reconnect`](crate::RemoteReader::reconnect). Its first frame
    /// is the newest one that no worker has had, or the next one that is drawn.
    ///
    /// # Errors
    /// As [`RemoteReader::reconnect`](crate::RemoteReader::reconnect).
    pub fn reconnect(&mut self, remote: Remote) -> Result<()> {
        self.workers.reconnect(remote)
    }

    /// Closes the connection and notifies the worker. A worker that computes with CUDA keeps its
    /// slots until its process has ended, see [`reconnect`](Self::reconnect); the writer has enough
    /// others.
    ///
    /// Does not wait on a thread that has locked the queue, as with
    /// [`RemoteExchange::disconnect`](crate::RemoteExchange::disconnect).
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

impl<R: Resources> Deref for RemoteWriter<R> {
    type Target = LatestWriter<R, RenderFirst>;

    fn deref(&self) -> &LatestWriter<R, RenderFirst> {
        &self.writer
    }
}

impl<R: Resources> DerefMut for RemoteWriter<R> {
    fn deref_mut(&mut self) -> &mut LatestWriter<R, RenderFirst> {
        &mut self.writer
    }
}

impl<R: Resources> std::fmt::Debug for RemoteWriter<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RemoteWriter({:?}, worker process {})", self.writer, self.process())
    }
}
