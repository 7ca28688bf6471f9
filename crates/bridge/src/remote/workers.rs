//! The workers of an exchange, one after the other.

use std::sync::{Arc, Mutex};

use bridge_ipc::Direction;

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
/// waits for nothing that a worker owes.
pub(super) struct Workers<E: End> {
    // Field order is drop order: the thread brings the handle back.
    link: Option<Link>,
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
        let (wake, compute) = (Arc::new(Wake::new()?), end.side().clone());
        let woken = Arc::clone(&wake);
        // What this process publishes or gives back is the worker's, and nobody else looks.
        end.on_change(move || woken.wake());
        let terms = Terms::new(info, kinds, remote.backend(), E::DIRECTION, E::TRUST);
        let status = Arc::new(Status::new(info.name));
        let home = Arc::new(Mutex::new(Some(Half::new(end))));
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let link = Link::new(remote.connection, &terms, &status, &home, &wake, Some(tell))?;
        // It says so within the limit of the offer, or is gone.
        told.recv().unwrap_or_else(|_| Err(Error::HostFailed { reason: "the thread of a worker has ended".into() }))?;
        Ok(Self { link: Some(link), home, wake, status, terms, compute })
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
        let invalid = |reason: String| Err(Error::invalid(format!("exchange \"{}\"", self.status.exchange()), reason));
        if self.link.is_some() && !self.status.is_lost() {
            return invalid(format!("worker process {} has it; `disconnect` it first", self.process()));
        }
        if remote.device.as_raw().handle() != self.compute.device().as_raw().handle() {
            return invalid("the worker was accepted for another device".into());
        }
        match E::DIRECTION {
            _ if !E::TRUST => {}
            Direction::WorkerWrites => remote.require_trust(self.status.exchange())?,
            Direction::RendererWrites => remote.require_trusted_reader(self.status.exchange())?,
        }
        if remote.backend() != self.terms.backend {
            let (first, next) = (self.terms.backend, remote.backend());
            return invalid(format!("it was made for workers with {first:?}, and the next has {next:?}"));
        }
        let peers = self.compute.side().remote().is_some_and(RemoteCompute::is_peer);
        if remote.is_on_another_gpu() && !peers {
            return invalid(
                "the worker computes on another GPU, and the slots were made for the one that draws".into(),
            );
        }
        // Its thread ends only once they have come, or it was killed.
        let frames = self.status.owed();
        if !frames.is_empty() {
            let (exchange, worker) = (self.status.exchange().to_owned(), self.process());
            return Err(Error::FramesOwed { exchange, worker, frames, limit: self.terms.timeout });
        }
        self.link = None;
        self.link = Some(Link::new(remote.connection, &self.terms, &self.status, &self.home, &self.wake, None)?);
        Ok(())
    }

    /// Ends the connection with the worker, which is told.
    pub(super) fn disconnect(&mut self) {
        if self.link.take().is_some() {
            // Unless it has taken the exchange: its thread has told what it had.
            self.status.lost(Lost { reason: "was disconnected".into(), ..Lost::default() });
        }
    }

    /// Ends the connection; gives the handle back.
    pub(super) fn end(&mut self) -> Option<E> {
        self.disconnect();
        take(&self.home).map(|half| half.end)
    }
}
