//! The successive workers of an exchange.

use std::sync::{Arc, Mutex};

use bridge_ipc::{Code, Direction, Owner, ResourceKind};
use vk_export::QueueKind;

use super::accepted::Remote;
use super::link::WorkerLink;
use super::part::WorkerHandle;
use super::status::{Lost, Status};
use super::stored_handle::{HandleStore, StoredHandle, take};
use super::terms::Terms;
use super::thread::WorkerThread;
use super::wake::Waker;
use crate::compute::Compute;
use crate::compute::remote::RemoteCompute;
use crate::error::{Error, Result};
use crate::exchange::LatestInfo;
use crate::observe::{log_error, log_warn};

/// The worker of an exchange, and the handle on its behalf. Dropping it ends the connection. If
/// submitted work waits for values that the worker owes, it waits for each of them, up to its
/// limit; if the engine may destroy the device afterwards, it also waits for the end of a worker
/// that was killed for that, however long it takes. On a thread that has locked a queue it does not
/// wait: the connection's thread does all of that alone, using the device.
pub(super) struct Workers<E: WorkerHandle> {
    // Field order is drop order: the thread returns the handle.
    link: Option<WorkerLink>,
    /// The thread of the last link, if it still waits for the end of a killed worker.
    leaving: Option<WorkerThread>,
    store: HandleStore<E>,
    /// Wakes the thread that currently listens.
    waker: Arc<Waker>,
    status: Arc<Status>,
    terms: Terms,
    compute: Compute,
    /// The process that has the threads.
    owner: Owner,
}

impl<E: WorkerHandle> Workers<E> {
    /// Offers an exchange to the worker, and waits until the worker has accepted it.
    pub(super) fn new(remote: Remote, info: &LatestInfo<'_>, kinds: Vec<ResourceKind>, mut end: E) -> Result<Self> {
        let (remote, waker) = remote.prepare(|_| Waker::new().map(Arc::new))?;
        let compute = end.side().clone();
        let woken = Arc::clone(&waker);
        // Frames that this process publishes and slots that it returns are for the worker.
        end.set_on_change(move || woken.wake());
        let terms = Terms::new(info, kinds, remote.ipc_backend(), E::DIRECTION, E::TRUST);
        let status = Arc::new(Status::new(info.name));
        let store = Arc::new(Mutex::new(Some(StoredHandle::new(end))));
        let (sender, result) = std::sync::mpsc::sync_channel(1);
        let link = WorkerLink::new(remote.connection, &terms, &status, &store, &waker, &mut None, Some(sender))?;
        // The thread reports the result within the limit of the offer, or has ended.
        result
            .recv()
            .unwrap_or_else(|_| Err(Error::HostFailed { reason: "the thread of a worker has ended".into() }))?;
        let (link, owner) = (Some(link), Owner::current());
        Ok(Self { link, leaving: None, store, waker, status, terms, compute, owner })
    }

    pub(super) fn status(&self) -> &Arc<Status> {
        &self.status
    }

    pub(super) fn process(&self) -> u32 {
        self.status.worker()
    }

    /// Checks that a worker is connected. Torn frames of an earlier worker are reported once.
    pub(super) fn require_worker(&self) -> Result<()> {
        self.status.take_error().map_or(Ok(()), Err)
    }

    /// Implements [`RemoteLatestReader::reconnect`](super::RemoteLatestReader::reconnect).
    pub(super) fn reconnect(&mut self, remote: Remote) -> Result<()> {
        if let Err(error) = self.check_owner().and_then(|()| self.check_queue()) {
            return Err(remote.refuse(Code::Failure, error));
        }
        if self.link.as_ref().is_some_and(WorkerLink::is_stopped) {
            // Afterwards, the owed frames are known, and its thread reports nothing about the next
            // worker.
            self.disconnect();
        }
        let checks = [
            (Code::Failure, self.check_free()),
            (Code::Failure, self.check_trust(&remote)),
            (Code::Device, self.check_device(&remote)),
            (Code::Backend, self.check_backend(&remote)),
            (Code::Failure, self.check_pending()),
        ];
        for (code, checked) in checks {
            if let Err(error) = checked {
                return Err(remote.refuse(code, error));
            }
        }
        self.leaving = self.link.take().and_then(WorkerLink::end).or_else(|| self.leaving.take());
        // The last worker may have set its timeline back meanwhile. Its thread reports nothing
        // about the next worker once nothing is owed.
        if let Err(error) = self.check_pending() {
            return Err(remote.refuse(Code::Failure, error));
        }
        let (connection, before, told) = (remote.connection, &mut self.leaving, None);
        self.link =
            Some(WorkerLink::new(connection, &self.terms, &self.status, &self.store, &self.waker, before, told)?);
        Ok(())
    }

    /// Returns `true` if the workers' handle is stored, and no thread holds it.
    #[cfg(test)]
    pub(super) fn has_handle(&self) -> bool {
        self.store.lock().unwrap().is_some()
    }

    /// Returns `true` if there is a thread that may wait for the end of an earlier worker.
    #[cfg(test)]
    pub(super) fn has_leaving_thread(&self) -> bool {
        self.leaving.is_some()
    }

    /// Checks that this thread may wait for the connection's thread, which may wait for the queue,
    /// or for another queue of the device if an engine uses one lock for all.
    ///
    /// # Errors
    /// [`vk_export::Error::QueueHeld`] if this thread has locked a queue.
    pub(super) fn check_queue(&self) -> Result<()> {
        let device = self.compute.device();
        let further = (0..).map_while(|index| device.queue_of(QueueKind::Additional(index)));
        for queue in further.chain([device.queue()]) {
            queue.check_free()?;
        }
        Ok(())
    }

    /// Checks that this process has the threads.
    ///
    /// # Errors
    /// [`bridge_ipc::Error::Forked`] in a forked child.
    fn check_owner(&self) -> Result<()> {
        Ok(self.owner.check(|| format!("exchange \"{}\"", self.status.exchange()))?)
    }

    /// Returns `true` in a process that was forked from the one that has the threads.
    pub(super) fn is_forked(&self) -> bool {
        self.owner.is_forked()
    }

    fn check_free(&self) -> Result<()> {
        if self.link.is_some() && !self.status.is_lost() {
            return self.invalid(format!("worker process {} is connected; `disconnect` it first", self.process()));
        }
        Ok(())
    }

    fn check_trust(&self, remote: &Remote) -> Result<()> {
        match E::DIRECTION {
            _ if !E::TRUST => Ok(()),
            Direction::WorkerWrites => remote.require_trust(self.status.exchange()),
            Direction::RendererWrites => remote.require_trusted_reader(self.status.exchange()),
        }
    }

    fn check_device(&self, remote: &Remote) -> Result<()> {
        if remote.device.as_raw().handle() != self.compute.device().as_raw().handle() {
            return self.invalid("the worker was accepted for another device".into());
        }
        Ok(())
    }

    fn check_backend(&self, remote: &Remote) -> Result<()> {
        if remote.ipc_backend() != self.terms.backend {
            let (first, next) = (self.terms.backend, remote.ipc_backend());
            return self.invalid(format!("it was created for workers with {first:?}, but the next one uses {next:?}"));
        }
        let peers = self.compute.side().remote().is_some_and(RemoteCompute::is_peer);
        if remote.is_on_another_gpu() && !peers {
            return self.invalid(
                "the worker computes on another GPU, but the slots were created for the one that draws".into(),
            );
        }
        Ok(())
    }

    /// Checks that the last worker owes nothing: its thread ends only once the values are reached,
    /// or the worker was killed.
    fn check_pending(&self) -> Result<()> {
        self.status.owed_error(self.terms.timeout).map_or(Ok(()), Err)
    }

    fn invalid(&self, reason: String) -> Result<()> {
        Err(Error::invalid(format!("exchange \"{}\"", self.status.exchange()), reason))
    }

    /// Ends the connection with the worker, and notifies it. On a thread that has locked the queue,
    /// only asks the connection's thread to do so; the next call on another thread waits for that.
    /// Has no effect in a forked child.
    pub(super) fn disconnect(&mut self) {
        // Threads of the parent may have held the locks at the fork.
        if self.is_forked() {
            return;
        }
        let Some(link) = self.link.take() else { return };
        let status = Arc::clone(link.status());
        if self.check_queue().is_err() {
            link.stop();
            self.link = Some(link);
            return;
        }
        self.leaving = link.end();
        // No effect if the worker had accepted the exchange: its thread has reported the loss.
        status.record_loss(Lost { reason: "was disconnected".into(), ..Lost::default() });
    }

    /// Ends the connection. Returns the handle, unless a thread holds it that waits for the end of
    /// a worker.
    ///
    /// # Errors
    /// [`bridge_ipc::Error::Forked`] in a forked child; otherwise as
    /// [`check_queue`](Self::check_queue).
    pub(super) fn end(&mut self) -> Result<Option<E>> {
        self.check_owner()?;
        self.check_queue()?;
        self.leave();
        Ok(take(&self.store).map(|stored| stored.handle))
    }

    /// Ends the connection permanently. A thread that still waits for the end of a worker continues
    /// if it keeps the device alive; otherwise this call waits for it, since the engine may destroy
    /// the device afterwards. On a thread that has locked the queue, the thread continues in any
    /// case. Has no effect in a forked child, which has neither the connection nor its thread.
    pub(super) fn leave(&mut self) {
        if self.is_forked() {
            return;
        }
        self.link.iter().for_each(WorkerLink::discard);
        if let Err(error) = self.check_queue() {
            let thread = self.link.take().and_then(WorkerLink::abandon).or_else(|| self.leaving.take());
            if thread.is_some_and(|thread| !thread.is_finished()) {
                log_error!(
                    "exchange \"{}\": its thread keeps using the device, which must outlive it: {error}",
                    self.status.exchange()
                );
            }
            return;
        }
        self.disconnect();
        if self.compute.device().is_kept_alive() {
            return;
        }
        let Some(thread) = self.leaving.take() else { return };
        if !thread.is_finished() {
            let exchange = self.status.exchange();
            log_warn!(
                "exchange \"{exchange}\": waiting for worker process {} to end; with `AdoptInfo::keep_alive` a thread would wait instead",
                self.process()
            );
        }
        thread.join();
    }
}

impl<E: WorkerHandle> Drop for Workers<E> {
    fn drop(&mut self) {
        self.leave();
        if self.is_forked() {
            // The handle keeps the slots, the timelines and the compute thread, which the parent
            // uses. The lock is not taken: a thread of the parent may have held it.
            std::mem::forget(Arc::clone(&self.store));
        }
    }
}
