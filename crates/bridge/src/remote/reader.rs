//! The reader of an exchange whose writer is in another process.

use std::ops::{Deref, DerefMut};

use super::accepted::Remote;
use super::workers::Workers;
use crate::error::Result;
use crate::exchange::resources::Resources;
use crate::exchange::{Exchange, LatestInfo, LatestReader, LatestWriter};

/// The reader of frames that a worker in another process writes, created by [`Remote::latest`].
///
/// It dereferences to a [`LatestReader`]: [`newest`](LatestReader::newest) returns the newest
/// complete frame, never blocks, and keeps returning the last frame when the worker stops, hangs or
/// dies. [`check_worker`](Self::check_worker) reports a lost worker, and
/// [`reconnect`](Self::reconnect) replaces it with another one.
///
/// No submission waits for the worker, on the CPU or the GPU, so neither a frame nor the end of the
/// program does. A worker that computes with CUDA writes the slots directly, without a copy; the
/// backend of [`compute`](LatestReader::compute) is then
/// [`Backend::Remote`](crate::Backend::Remote).
pub struct RemoteReader<R: Resources> {
    // Field order is drop order: the thread brings the writer back before both halves go.
    workers: Workers<LatestWriter<R>>,
    reader: LatestReader<R>,
}

impl Remote {
    /// Offers an exchange to the worker, which writes frames at its own rate, and waits until the
    /// worker accepts it, for at most [`LatestInfo::timeout`]. The result reads the newest frame,
    /// like the reader of [`Exchange::latest`](crate::Exchange::latest).
    ///
    /// The frames of a worker on the CPU are copied into the slots. A worker that computes with
    /// CUDA writes the slots directly; there can then be at most 64, and on another GPU than the
    /// one that draws, they can only hold buffers.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument), with the worker's reason, if the
    /// worker refuses the exchange, for example because it expects other resources, or does not
    /// answer in time; [`Error::Connection`](crate::Error::Connection) if the connection ends or
    /// fails; otherwise as [`Exchange::latest`](crate::Exchange::latest).
    pub fn latest<R: Resources>(self, info: &LatestInfo<'_>, resources: R) -> Result<RemoteReader<R>> {
        RemoteReader::new(self, info, resources)
    }
}

impl<R: Resources> RemoteReader<R> {
    pub(super) fn new(remote: Remote, info: &LatestInfo<'_>, resources: R) -> Result<Self> {
        let mut kinds = Vec::new();
        resources.kinds(&mut kinds);
        let (remote, (writer, reader)) =
            remote.prepare(|remote| Exchange::latest_of(&remote.compute(info)?, info, &resources))?;
        Ok(Self { workers: Workers::new(remote, info, kinds, writer)?, reader })
    }

    /// Returns the process ID of the worker, or of the last one.
    pub fn process(&self) -> u32 {
        self.workers.process()
    }

    /// Checks that a worker is connected.
    ///
    /// # Errors
    /// [`Error::PeerLost`](crate::Error::PeerLost) once its process or its connection has ended, or
    /// it was disconnected, until [`reconnect`](Self::reconnect). Frames that it finished before
    /// can still be read.
    pub fn check_worker(&self) -> Result<()> {
        self.workers.require_worker()
    }

    /// Replaces a lost worker with another one, on the same slots. The last frame stays until the
    /// new worker's first. The call does not wait for the new worker;
    /// [`check_worker`](Self::check_worker) reports if it rejects the exchange or does not answer
    /// within [`LatestInfo::timeout`]. If a frame that the old worker published is being copied,
    /// the call waits for the copy, for up to 500 ms.
    ///
    /// A worker on the CPU gets memory that the old one never had, so that an old process that
    /// still runs cannot interfere. A worker that computes with CUDA gets the slots themselves,
    /// once the old one can no longer write to them: it has closed the exchange, or its process has
    /// ended. If that does not happen within the same timeout, `check_worker` reports it: end the
    /// process then, and let another worker connect.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) while a worker is connected (see
    /// [`disconnect`](Self::disconnect)), and for a worker that was accepted for another device,
    /// uses another backend than the first one, or computes on another GPU than the slots were
    /// created for, and [`Error::HostFailed`](crate::Error::HostFailed) if no thread can be
    /// started.
    pub fn reconnect(&mut self, remote: Remote) -> Result<()> {
        self.workers.reconnect(remote)
    }

    /// Closes the connection and notifies the worker. Published frames stay. If a frame is being
    /// copied, it waits for the copy as [`reconnect`](Self::reconnect) does. A worker that computes
    /// with CUDA keeps its slots until its process has ended.
    ///
    /// Does not wait on a thread that has locked the queue, as with
    /// [`RemoteExchange::disconnect`](crate::RemoteExchange::disconnect).
    pub fn disconnect(&mut self) {
        self.workers.disconnect();
    }

    /// Ends the exchange, as [`LatestWriter::close`](crate::LatestWriter::close) does.
    ///
    /// # Errors
    /// As [`LatestWriter::close`](crate::LatestWriter::close).
    pub fn close(mut self) -> Result<()> {
        self.workers.end()?.map_or(Ok(()), |writer| writer.close(self.reader))
    }
}

impl<R: Resources> Deref for RemoteReader<R> {
    type Target = LatestReader<R>;

    fn deref(&self) -> &LatestReader<R> {
        &self.reader
    }
}

impl<R: Resources> DerefMut for RemoteReader<R> {
    fn deref_mut(&mut self) -> &mut LatestReader<R> {
        &mut self.reader
    }
}

impl<R: Resources> std::fmt::Debug for RemoteReader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RemoteReader({:?}, worker process {})", self.reader, self.process())
    }
}
