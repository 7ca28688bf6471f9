//! The workers of an exchange, one after the other.

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use bridge_ipc::{Code, Direction};

use super::accepted::Remote;
use super::half::{Half, Home, take};
use super::link::Link;
use super::part::End;
use super::runs::ResourceKind;
use super::status::{Lost, Status};
use super::terms::Terms;
use super::wake::Wake;
use crate::compute::Compute;
use crate::compute::remote::RemoteCompute;
use crate::error::{Error, Result};
use crate::exchange::LatestInfo;

/// The worker of an exchange, and the handle on its behalf. Dropping it ends the connection and
/// waits for what a worker owes up to its limit, where something that is submitted waits for that.
pub(super) struct Workers<E: End> {
    // Field order is drop order: the thread brings the handle back.
    link: Option<Link>,
    /// The thread of the last link, where it still waits for the end of a worker that was killed.
    leaving: Option<JoinHandle<()>>,
    home: Home<E>,
    /// Of whichever thread listens.
    wake: Arc<Wake>,
    status: Arc<Status>,
    terms: Terms,
    compute: Compute,
}

impl<E: End> Workers<E> {
    /// Offers an exchange to the worker, and waits until it has taken it.
    pub(super) fn new(remote: Remote, info: &LatestInfo<'_>, kinds: Vec<ResourceKind>, mut end: E) -> Result<Self> {
        let (remote, wake) = remote.prepare(|_| Wake::new().map(Arc::new))?;
        let compute = end.side().clone();
        let woken = Arc::clone(&wake);
        // What this process publishes or gives back is the worker's, and nobody else looks.
        end.on_change(move || woken.wake());
        let terms = Terms::new(info, kinds, remote.backend(), E::DIRECTION, E::TRUST);
        let status = Arc::new(Status::new(info.name));
        let home = Arc::new(Mutex::new(Some(Half::new(end))));
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let link = Link::new(remote.connection, &terms, &status, &home, &wake, None, Some(tell))?;
        // It says so within the limit of the offer, or is gone.
        told.recv().unwrap_or_else(|_| Err(Error::HostFailed { reason: "the thread of a worker has ended".into() }))?;
        Ok(Self { link: Some(link), leaving: None, home, wake, status, terms, compute })
    }

    pub(super) fn status(&self) -> &Arc<Status> {
        &self.status
    }

    pub(super) fn process(&self) -> u32 {
        self.status.worker()
    }

    /// Of frames of an earlier worker that are torn, it tells once.
    pub(super) fn require_worker(&self) -> Result<()> {
        self.status.tell().map_or(Ok(()), Err)
    }

    /// As [`RemoteReader::reconnect`](super::RemoteReader::reconnect).
    pub(super) fn reconnect(&mut self, remote: Remote) -> Result<()> {
        if let Err((code, error)) = self.check(&remote) {
            return Err(remote.refuse(code, error));
        }
        let before = self.link.take().and_then(Link::end).or_else(|| self.leaving.take());
        let (connection, told) = (remote.connection, None);
        self.link = Some(Link::new(connection, &self.terms, &self.status, &self.home, &self.wake, before, told)?);
        Ok(())
    }

    /// Checks that a worker may take the place of the last.
    ///
    /// # Errors
    /// Why not, as the worker is told too.
    fn check(&self, remote: &Remote) -> Result<(), (Code, Error)> {
        let exchange = self.status.exchange();
        let invalid = |code, reason: String| Err((code, Error::invalid(format!("exchange \"{exchange}\""), reason)));
        if self.link.is_some() && !self.status.is_lost() {
            return invalid(Code::Failure, format!("worker process {} has it; `disconnect` it first", self.process()));
        }
        if remote.device.as_raw().handle() != self.compute.device().as_raw().handle() {
            return invalid(Code::Device, "the worker was accepted for another device".into());
        }
        let allowed = match E::DIRECTION {
            _ if !E::TRUST => Ok(()),
            Direction::WorkerWrites => remote.require_trust(exchange),
            Direction::RendererWrites => remote.require_trusted_reader(exchange),
        };
        allowed.map_err(|error| (Code::Failure, error))?;
        if remote.backend() != self.terms.backend {
            let (first, next) = (self.terms.backend, remote.backend());
            let reason = format!("it was made for workers with {first:?}, and the next has {next:?}");
            return invalid(Code::Backend, reason);
        }
        let peers = self.compute.side().remote().is_some_and(RemoteCompute::is_peer);
        if remote.is_on_another_gpu() && !peers {
            let reason = "the worker computes on another GPU, and the slots were made for the one that draws";
            return invalid(Code::Device, reason.into());
        }
        // Its thread ends only once they have come, or it was killed.
        let frames = self.status.owed();
        if !frames.is_empty() {
            let (exchange, worker, limit) = (exchange.to_owned(), self.process(), self.terms.timeout);
            return Err((Code::Failure, Error::FramesOwed { exchange, worker, frames, limit }));
        }
        Ok(())
    }

    /// Ends the connection with the worker, which is told.
    pub(super) fn disconnect(&mut self) {
        if let Some(link) = self.link.take() {
            self.leaving = link.end();
            // Unless it has taken the exchange: its thread has told what it had.
            self.status.lost(Lost { reason: "was disconnected".into(), ..Lost::default() });
        }
    }

    /// Ends the connection; gives the handle back, unless a thread has it that waits for the end of a
    /// worker.
    pub(super) fn end(&mut self) -> Option<E> {
        self.disconnect();
        take(&self.home).map(|half| half.end)
    }
}
