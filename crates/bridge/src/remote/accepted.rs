//! A worker that was accepted, before an exchange is offered to it.

use bridge_ipc::{Code, Connection};
use vk_export::ExportDevice;

use super::terms::check_slots;
use crate::compute::{Backend, Compute};
use crate::error::{Error, Result};
use crate::exchange::{ExchangeInfo, LatestInfo};

/// Reason why a worker is refused for an exchange in step.
const TRUST_REQUIRED: &str = "it is in step, so that each side's GPU waits for the other process, which both have to allow: \
     accept the worker with `AcceptInfo::trust`, and let it connect with `WorkerInfo::trust`";

/// A worker in another process that has been accepted.
#[derive(Debug)]
pub struct Remote {
    pub(super) connection: Connection,
    pub(super) device: ExportDevice,
}

impl Remote {
    /// Returns the process ID of the worker.
    pub fn pid(&self) -> u32 {
        self.connection.peer().pid()
    }

    /// Returns the worker's name, from its Hello.
    pub fn name(&self) -> &str {
        self.connection.peer_hello().map_or("", |hello| &hello.name)
    }

    /// Returns `true` if both sides allow exchanges in step.
    pub fn has_trust(&self) -> bool {
        self.connection.session().has_trust()
    }

    /// Returns the backend that the worker computes with: [`Backend::Cuda`] or [`Backend::Host`].
    /// An exchange that was created for workers with one accepts no worker with the other, and an
    /// exchange with CUDA has at most 64 slots.
    pub fn backend(&self) -> Backend {
        match self.ipc_backend() {
            bridge_ipc::Backend::Cuda => Backend::Cuda,
            _ => Backend::Host,
        }
    }

    /// Returns `true` if the worker computes with CUDA on another GPU than the one that draws. Such
    /// a worker shares buffers, but no images.
    pub fn is_on_another_gpu(&self) -> bool {
        let uuid = self.connection.peer_hello().map(|hello| hello.device_uuid);
        self.backend() == Backend::Cuda && uuid != Some(self.device.uuid())
    }

    /// Creates the objects to offer to the worker. If that fails, refuses the worker with the
    /// error. Creates nothing in a forked child, which shares the device with its parent.
    pub(super) fn prepare<T>(self, make: impl FnOnce(&Self) -> Result<T>) -> Result<(Self, T)> {
        let owned = self.connection.check_owner().map_err(Error::from);
        match owned.and_then(|()| make(&self)) {
            Ok(made) => Ok((self, made)),
            Err(error) => Err(self.refuse(Code::Failure, error)),
        }
    }

    /// Ends the connection with a worker that is refused, and notifies it of the reason.
    pub(super) fn refuse(mut self, code: Code, error: Error) -> Error {
        self.connection.close(code, &error.to_string());
        error
    }

    /// Checks that both sides allow an exchange in step.
    pub(super) fn require_trust(&self, exchange: &str) -> Result<()> {
        if self.has_trust() {
            return Ok(());
        }
        Err(Error::invalid(format!("exchange \"{exchange}\""), TRUST_REQUIRED))
    }

    /// Checks that both sides allow an exchange in step that the worker reads.
    pub(super) fn require_trusted_reader(&self, exchange: &str) -> Result<()> {
        self.require_trust(exchange)?;
        let session = self.connection.session();
        if session.has_trusted_readers() {
            return Ok(());
        }
        let version = session.version().unwrap_or(0);
        let since = bridge_ipc::RENDERER_IN_STEP_SINCE;
        Err(Error::invalid(
            format!("exchange \"{exchange}\""),
            format!(
                "it is in step and the worker reads, which requires version {since} of the protocol, but the worker \
                 uses version {version}; use a newer worker, or `Remote::latest_render_first`"
            ),
        ))
    }

    /// Returns the backend that the worker computes with, in the protocol.
    pub(super) fn ipc_backend(&self) -> bridge_ipc::Backend {
        // The session ensures that a worker has a backend.
        self.connection.session().backend().unwrap_or(bridge_ipc::Backend::Host)
    }

    /// Creates the compute side of an exchange in step for workers like this one.
    pub(super) fn compute_for_exchange(&self, info: &ExchangeInfo<'_>) -> Result<Compute> {
        if info.pool.is_some() {
            return Err(Error::invalid(
                format!("exchange \"{}\"", info.name),
                "a worker needs memory of its own and cannot use a pool; leave `ExchangeInfo::pool` unset",
            ));
        }
        check_slots(info.name, info.slots)?;
        match self.ipc_backend() {
            bridge_ipc::Backend::Host => Compute::new(&self.device, Backend::Host),
            bridge_ipc::Backend::Cuda => Compute::remote_in_step(&self.device, self.is_on_another_gpu()),
            other => Err(unknown_backend(info.name, other)),
        }
    }

    /// Creates the compute side of an exchange for workers like this one.
    pub(super) fn compute_for_latest(&self, info: &LatestInfo<'_>) -> Result<Compute> {
        match self.ipc_backend() {
            bridge_ipc::Backend::Host => Compute::new(&self.device, Backend::Host),
            bridge_ipc::Backend::Cuda => {
                check_slots(info.name, info.slot_count())?;
                Compute::remote(&self.device, self.is_on_another_gpu())
            }
            other => Err(unknown_backend(info.name, other)),
        }
    }
}

/// Returns the error of offering an exchange to a worker with an unknown backend.
pub(super) fn unknown_backend(exchange: &str, backend: bridge_ipc::Backend) -> Error {
    Error::invalid(
        format!("exchange \"{exchange}\""),
        format!(
            "nothing can be shared with a worker that computes with {backend:?}; let it compute with CUDA or on the CPU"
        ),
    )
}
