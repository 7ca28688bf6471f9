//! The reader of an exchange whose writer is in another process.
#![allow(unsafe_code)] // Recording.

use std::ops::Deref;

use vk_export::ash::vk;

use super::accepted::Remote;
use super::workers::Workers;
use crate::error::Result;
use crate::exchange::submit::parts::SubmitParts;
use crate::exchange::{Exchange, InitialTurn, LatestInfo, LatestReader, LatestWriter, RenderRead};
use crate::resources::Resources;

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
pub struct RemoteLatestReader<R: Resources> {
    // Field order is drop order: the thread returns the writer before both halves are dropped.
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
    pub fn latest<R: Resources>(self, info: &LatestInfo<'_>, resources: R) -> Result<RemoteLatestReader<R>> {
        RemoteLatestReader::new(self, info, resources)
    }
}

impl<R: Resources> RemoteLatestReader<R> {
    pub(super) fn new(remote: Remote, info: &LatestInfo<'_>, resources: R) -> Result<Self> {
        let mut kinds = Vec::new();
        resources.kinds(&mut kinds);
        let (remote, (writer, reader)) =
            remote.prepare(|remote| Exchange::latest_for(&remote.compute_for_latest(info)?, info, resources))?;
        Ok(Self { workers: Workers::new(remote, info, kinds, writer)?, reader })
    }

    /// Returns the process ID of the worker, or of the last one.
    pub fn pid(&self) -> u32 {
        self.workers.process()
    }

    /// Returns a turn with the most recent frame, as [`LatestReader::newest`].
    ///
    /// # Errors
    /// As [`LatestReader::newest`].
    pub fn newest(&mut self) -> Result<Option<RenderRead<R>>> {
        self.reader.newest()
    }

    /// Submits the first hand-over of new images and waits for it, as [`LatestReader::initialize`].
    ///
    /// # Errors
    /// As [`LatestReader::initialize`].
    pub fn initialize(&mut self) -> Result<()> {
        self.reader.initialize()
    }

    /// Records the first hand-over of new images, as [`LatestReader::record_initial`].
    ///
    /// # Errors
    /// As [`LatestReader::record_initial`].
    ///
    /// # Safety
    /// As [`LatestReader::record_initial`].
    pub unsafe fn record_initial(&mut self, commands: vk::CommandBuffer) -> Result<InitialTurn<R>> {
        // SAFETY: the caller guarantees it.
        unsafe { self.reader.record_initial(commands) }
    }

    /// Returns a submission that proves the end of dropped lent turns, as
    /// [`LatestReader::flush_parts`].
    ///
    /// # Errors
    /// As [`LatestReader::flush_parts`].
    pub fn flush_parts(&mut self) -> Result<Option<SubmitParts>> {
        self.reader.flush_parts()
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
    /// [`RemoteExchangeReader::disconnect`](crate::RemoteExchangeReader::disconnect).
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

/// No `DerefMut`: with `mem::swap`, two exchanges would get each other's worker.
impl<R: Resources> Deref for RemoteLatestReader<R> {
    type Target = LatestReader<R>;

    fn deref(&self) -> &LatestReader<R> {
        &self.reader
    }
}

impl<R: Resources> std::fmt::Debug for RemoteLatestReader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RemoteLatestReader({:?}, worker process {})", self.reader, self.pid())
    }
}

/// Ambiguous, and thus a compile error, for a type with `DerefMut`.
#[cfg(test)]
const _: () = {
    use super::writer::RemoteLatestWriter;
    use crate::buffer::spec::BufferSpec;

    trait Fixed<Marker> {
        const IS: bool = true;
    }
    struct Mutable;
    impl<T> Fixed<()> for T {}
    impl<T: std::ops::DerefMut> Fixed<Mutable> for T {}
    let _: bool = <RemoteLatestReader<BufferSpec<f32>> as Fixed<_>>::IS;
    let _: bool = <RemoteLatestWriter<BufferSpec<f32>> as Fixed<_>>::IS;
};
