//! The reader of an exchange whose writer is in another process.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex};

use super::link::{Link, Writer, take};
use super::listener::Remote;
use super::offer::Terms;
use super::status::{Lost, Status};
use crate::compute::{Backend, Compute};
use crate::error::{Error, Result};
use crate::exchange::resources::Resources;
use crate::exchange::{Exchange, LatestInfo, LatestReader};

/// The reader of frames that a worker in another process writes, made by [`Remote::latest`].
///
/// It is a [`LatestReader`]: [`newest`](LatestReader::newest) gives the newest whole frame, never blocks, and goes on with the last one
/// when the worker stops, hangs or dies. [`check`](Self::check) tells that the worker is lost, and [`reconnect`](Self::reconnect) puts
/// another in its place.
///
/// Nothing that is submitted waits for the worker, on the CPU or the GPU, so that neither a frame nor the end of the program does.
pub struct RemoteReader<R: Resources> {
    // Field order is drop order: the thread brings the writer back before both halves go.
    link: Option<Link>,
    writer: Writer<R>,
    reader: LatestReader<R>,
    status: Arc<Status>,
    terms: Terms,
}

impl<R: Resources> RemoteReader<R> {
    pub(super) fn new(remote: Remote, info: &LatestInfo<'_>, resources: R) -> Result<Self> {
        let mut kinds = Vec::new();
        resources.kinds(&mut kinds);
        let compute = Compute::new(&remote.device, Backend::Host)?;
        let (writer, reader) = Exchange::latest(&compute, info, resources)?;
        let (terms, status) = (Terms::new(info, kinds), Arc::new(Status::new(info.name)));
        let writer = Arc::new(Mutex::new(Some(writer)));
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let link = Link::new(remote.connection, &terms, &status, &writer, Some(tell))?;
        // It says so within the limit of the offer, or is gone.
        told.recv().unwrap_or_else(|_| Err(Error::HostFailed { reason: "the thread of a worker has ended".into() }))?;
        Ok(Self { link: Some(link), writer, reader, status, terms })
    }

    /// The process of the worker, or of the last one.
    pub fn process(&self) -> u32 {
        self.status.worker()
    }

    /// That there is a worker.
    ///
    /// # Errors
    /// [`Error::PeerLost`] once its process or its connection has ended, or it was disconnected, until [`reconnect`](Self::reconnect). Frames that it has
    /// finished before are still read.
    pub fn check(&self) -> Result<()> {
        self.status.error().map_or(Ok(()), Err)
    }

    /// Puts another worker in the place of one that is lost, with the same slots: the frame that is shown stays until the new worker's
    /// first. Frames go on meanwhile: nobody waits for the new worker, and [`check`](Self::check) tells if it refuses the exchange or says
    /// nothing within [`LatestInfo::timeout`]. It is offered memory that the old worker never had, so that nothing of a process which lives on is mixed in.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] while there is a worker (see [`disconnect`](Self::disconnect)), and for one that was accepted for
    /// another device; the failed call, where no thread starts.
    pub fn reconnect(&mut self, remote: Remote) -> Result<()> {
        let invalid = |reason: String| {
            Err(Error::InvalidArgument { object: format!("exchange \"{}\"", self.reader.name()), reason })
        };
        if self.link.is_some() && self.check().is_ok() {
            return invalid(format!("worker process {} writes it; `disconnect` it first", self.process()));
        }
        if remote.device.as_raw().handle() != self.reader.compute().device().as_raw().handle() {
            return invalid("the worker was accepted for another device".into());
        }
        self.link = None;
        self.link = Some(Link::new(remote.connection, &self.terms, &self.status, &self.writer, None)?);
        Ok(())
    }

    /// Ends the connection with the worker, which is told. Frames that were published stay.
    pub fn disconnect(&mut self) {
        if self.link.take().is_some() {
            self.status.lost(Lost { reason: "was disconnected".into(), dead: false, held: 0, owed: 0 });
        }
    }

    /// Ends the exchange, as [`LatestWriter::close`](crate::LatestWriter::close) does.
    ///
    /// # Errors
    /// As [`LatestWriter::close`](crate::LatestWriter::close).
    pub fn close(mut self) -> Result<()> {
        self.disconnect();
        take(&self.writer).map_or(Ok(()), |writer| writer.close(self.reader))
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
