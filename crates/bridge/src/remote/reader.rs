//! The reader of an exchange whose writer is in another process.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex};

use bridge_ipc::MOST_SLOTS;

use super::half::{Half, Home, take};
use super::link::Link;
use super::listener::Remote;
use super::offer::Terms;
use super::status::{Lost, Status};
use super::wake::Wake;
use crate::compute::remote::RemoteCompute;
use crate::compute::{Backend, Compute};
use crate::error::{Error, Result};
use crate::exchange::resources::Resources;
use crate::exchange::{Exchange, LatestInfo, LatestReader};

/// The reader of frames that a worker in another process writes, made by [`Remote::latest`].
///
/// It is a [`LatestReader`]: [`newest`](LatestReader::newest) gives the newest whole frame, never
/// blocks, and goes on with the last one when the worker stops, hangs or dies.
/// [`check`](Self::check) tells that the worker is lost, and [`reconnect`](Self::reconnect) puts
/// another in its place.
///
/// Nothing that is submitted waits for the worker, on the CPU or the GPU, so that neither a frame
/// nor the end of the program does. Where the worker computes with CUDA, it writes the slots
/// themselves, and nothing is copied; [`compute`](LatestReader::compute) is [`Backend::Remote`]
/// then.
pub struct RemoteReader<R: Resources> {
    // Field order is drop order: the thread brings the writer back before both halves go.
    link: Option<Link>,
    home: Home<R>,
    /// Of whichever thread listens.
    wake: Arc<Wake>,
    reader: LatestReader<R>,
    status: Arc<Status>,
    terms: Terms,
}

impl<R: Resources> RemoteReader<R> {
    pub(super) fn new(remote: Remote, info: &LatestInfo<'_>, resources: R) -> Result<Self> {
        let mut kinds = Vec::new();
        resources.kinds(&mut kinds);
        let backend = remote.backend();
        let compute = match backend {
            bridge_ipc::Backend::Host => Compute::new(&remote.device, Backend::Host)?,
            bridge_ipc::Backend::Cuda => {
                check_slots(info)?;
                Compute::remote(&remote.device, remote.is_on_another_gpu())?
            }
        };
        let (writer, reader) = Exchange::latest_of(&compute, info, &resources)?;
        let wake = Arc::new(Wake::new()?);
        if backend == bridge_ipc::Backend::Cuda {
            // What the reader gives back is the worker's, and nobody else looks.
            let wake = Arc::clone(&wake);
            writer.on_freed(move || wake.wake());
        }
        let (terms, status) = (Terms::new(info, kinds, backend), Arc::new(Status::new(info.name)));
        let home = Arc::new(Mutex::new(Some(Half::new(writer))));
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let link = Link::new(remote.connection, &terms, &status, &home, &wake, Some(tell))?;
        // It says so within the limit of the offer, or is gone.
        told.recv().unwrap_or_else(|_| Err(Error::HostFailed { reason: "the thread of a worker has ended".into() }))?;
        Ok(Self { link: Some(link), home, wake, reader, status, terms })
    }

    /// The process of the worker, or of the last one.
    pub fn process(&self) -> u32 {
        self.status.worker()
    }

    /// Checks that there is a worker.
    ///
    /// # Errors
    /// [`Error::PeerLost`] once its process or its connection has ended, or it was disconnected,
    /// until [`reconnect`](Self::reconnect). Frames that it has finished before are still read.
    pub fn check(&self) -> Result<()> {
        self.status.error().map_or(Ok(()), Err)
    }

    /// Puts another worker in the place of one that is lost, with the same slots: the frame that is
    /// shown stays until the new worker's first. Frames go on meanwhile: nobody waits for the new
    /// worker, and [`check`](Self::check) tells if it refuses the exchange or says nothing within
    /// [`LatestInfo::timeout`].
    ///
    /// A worker on the CPU is offered memory that the old one never had, so that nothing of a
    /// process which lives on is mixed in. One that computes with CUDA is offered the slots
    /// themselves, once the old one cannot write to them any more: it has closed the exchange, or
    /// its process has ended. Where that does not come within the same limit, `check` says so: end
    /// the process then, and let another worker connect.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] while there is a worker (see [`disconnect`](Self::disconnect)),
    /// and for one that was accepted for another device, computes with another backend than the
    /// first, or on another GPU than the slots were made for; the failed call, where no thread
    /// starts.
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
        if remote.backend() != self.terms.backend {
            let (first, next) = (self.terms.backend, remote.backend());
            return invalid(format!("it was made for workers with {first:?}, and the next has {next:?}"));
        }
        let peers = self.reader.compute().side().remote().is_some_and(RemoteCompute::is_peer);
        if remote.is_on_another_gpu() && !peers {
            return invalid(
                "the worker computes on another GPU, and the slots were made for the one that draws".into(),
            );
        }
        self.link = None;
        self.link = Some(Link::new(remote.connection, &self.terms, &self.status, &self.home, &self.wake, None)?);
        Ok(())
    }

    /// Ends the connection with the worker, which is told. Frames that were published stay. A
    /// worker that computes with CUDA has its slots until its process has ended, see
    /// [`reconnect`](Self::reconnect).
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
        take(&self.home).map_or(Ok(()), |half| half.writer.close(self.reader))
    }
}

/// Checks that a worker can be told of all slots.
fn check_slots(info: &LatestInfo<'_>) -> Result<()> {
    if info.slots <= MOST_SLOTS as usize {
        return Ok(());
    }
    Err(Error::InvalidArgument {
        object: format!("latest exchange \"{}\"", info.name),
        reason: format!(
            "it has {} slots, and a worker that computes with CUDA has {MOST_SLOTS} at most; make `LatestInfo::slots` fewer",
            info.slots
        ),
    })
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
