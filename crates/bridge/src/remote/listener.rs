//! Accepting workers.

use std::path::Path;
use std::time::Duration;

use bridge_ipc::{Backend, Connection, Hello, Role};
use vk_export::ExportDevice;

use super::exchange::RemoteExchange;
use super::reader::RemoteReader;
use super::writer::RemoteWriter;
use crate::error::Result;
use crate::exchange::resources::Resources;
use crate::exchange::{ExchangeInfo, LatestInfo};
use crate::observe::log_info;

/// A socket that workers connect to, at a path which this user's processes alone may use.
///
/// `docs/processes.md` in the repository tells what a worker is and how either side outlives the
/// other. Dropping the listener removes the socket's file; workers that were accepted stay.
#[derive(Debug)]
pub struct Listener(bridge_ipc::Listener);

/// Configuration of [`Listener::accept_with`].
#[derive(Debug, Clone, Copy)]
pub struct AcceptInfo {
    /// The time for which a worker is waited for. Default: none.
    pub timeout: Duration,
    /// Whether to allow exchanges in step ([`Remote::exchange`]), which workers have to allow too:
    /// commands of this process then wait, on the GPU, for frames that a worker has announced, and
    /// a worker that does not finish them in time is killed. A worker with CUDA can signal the
    /// timelines that it was given with any value, and this process then submits lower ones
    /// (VUID-VkSubmitInfo2-semaphore-03882): trust only workers that keep to the protocol.
    /// Default: no.
    pub trust: bool,
}

impl Default for AcceptInfo {
    fn default() -> Self {
        Self { timeout: Duration::ZERO, trust: false }
    }
}

/// A worker in another process that has been accepted.
#[derive(Debug)]
pub struct Remote {
    pub(super) connection: Connection,
    pub(super) device: ExportDevice,
}

impl Listener {
    /// Listens at `path` (mode 0600). A socket that a dead process left there is replaced.
    ///
    /// # Errors
    /// [`Error::Connection`](crate::Error::Connection) where another process listens, something
    /// else is at the path, or the system refuses.
    pub fn bind(path: impl AsRef<Path>) -> Result<Self> {
        Ok(Self(bridge_ipc::Listener::bind(path)?))
    }

    /// The path of the socket.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The next worker, for exchanges on `device`, waited for at most `timeout`. `None` if none has
    /// come.
    ///
    /// A worker counts once it has said its Hello, which takes as long as CUDA takes to start
    /// there. One that has connected and not said it stays with the listener for up to 30 seconds,
    /// for a later call with this device. So a `timeout` of zero never waits, as in a frame of an
    /// engine's loop.
    ///
    /// Workers compute on the CPU, or with CUDA where the device exports its memory and timelines
    /// ([`ExportDevice::require_export`]); they are told which may be, and choose. This process
    /// needs no CUDA for either.
    ///
    /// # Errors
    /// [`Error::Connection`](crate::Error::Connection) for a process that may not connect, says
    /// nothing in time or what is no Hello, or has gone; its connection is closed, and the listener
    /// goes on.
    pub fn accept(&self, device: &ExportDevice, timeout: Duration) -> Result<Option<Remote>> {
        self.accept_with(device, &AcceptInfo { timeout, ..AcceptInfo::default() })
    }

    /// [`accept`](Self::accept) with a configuration. A worker that was met with `trust` is not had
    /// by calls without, and the other way round.
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    pub fn accept_with(&self, device: &ExportDevice, info: &AcceptInfo) -> Result<Option<Remote>> {
        let AcceptInfo { timeout, trust } = *info;
        let mut hello = Hello::new(Role::Renderer, &device.name()[..device.name().floor_char_boundary(64)]);
        (hello.host, hello.trust, hello.device_uuid) = (true, trust, device.uuid());
        let exports = device.require_export("workers that compute with CUDA");
        hello.cuda = exports.is_ok();
        let Some(connection) = self.0.greet(&hello, timeout)? else { return Ok(None) };
        if let Err(error) = exports {
            log_info!("workers compute on the CPU: {error}");
        }
        Ok(Some(Remote { connection, device: device.clone() }))
    }
}

impl Remote {
    /// The worker's process.
    pub fn process(&self) -> u32 {
        self.connection.peer().pid().unsigned_abs()
    }

    /// Its name, as it says.
    pub fn name(&self) -> &str {
        self.connection.peer_hello().map_or("", |hello| &hello.name)
    }

    /// The backend that it computes with.
    pub(super) fn backend(&self) -> Backend {
        // A worker has one, as the session has seen to.
        self.connection.session().backend().unwrap_or(Backend::Host)
    }

    /// Returns `true` if it computes with CUDA on another GPU than the one that draws.
    pub(super) fn is_on_another_gpu(&self) -> bool {
        let uuid = self.connection.peer_hello().map(|hello| hello.device_uuid);
        self.backend() == Backend::Cuda && uuid != Some(self.device.uuid())
    }

    /// Offers an exchange to the worker, which writes frames at a rate of its own, and waits until
    /// it has taken it, for at most [`LatestInfo::timeout`]. What comes back reads the newest, as
    /// the reader of [`Exchange::latest`](crate::Exchange::latest) does.
    ///
    /// The frames of a worker on the CPU are copied into the slots. One that computes with CUDA
    /// writes the slots themselves, of which there may be 64 then; on another GPU than the one that
    /// draws, buffers only.
    ///
    /// # Errors
    /// [`Error::Connection`](crate::Error::Connection) where the worker refuses it, for example
    /// since it expects other resources, or is gone; else as
    /// [`Exchange::latest`](crate::Exchange::latest).
    pub fn latest<R: Resources>(self, info: &LatestInfo<'_>, resources: R) -> Result<RemoteReader<R>> {
        RemoteReader::new(self, info, resources)
    }

    /// Returns `true` if both sides allow exchanges in step.
    pub fn has_trust(&self) -> bool {
        self.connection.session().has_trust()
    }

    /// Offers an exchange in step to the worker, and waits until it has taken it, for at most
    /// [`ExchangeInfo::timeout`]. Each frame comes once and in order, as with
    /// [`Exchange::new`](crate::Exchange::new) in one process: the worker announces it before it is
    /// finished, its turn may be submitted at once, and the GPU waits for it.
    ///
    /// [`ExchangeInfo::timeout`] is the worker's limit too. One that does not finish what it has
    /// announced within that time, though nothing but itself delays it, is killed, and what it owes
    /// is signalled in its place: see [`RemoteExchange`].
    ///
    /// A worker on the CPU is copied from, one that computes with CUDA writes the slots themselves,
    /// as in [`latest`](Self::latest).
    ///
    /// # Errors
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) where a side does not allow it
    /// ([`AcceptInfo::trust`]), for more than 64 slots, and for a pool; else as
    /// [`latest`](Self::latest).
    pub fn exchange<R: Resources>(self, info: &ExchangeInfo<'_>, resources: R) -> Result<RemoteExchange<R>> {
        RemoteExchange::new(self, info, resources)
    }

    /// Offers an exchange to the worker, which reads the newest frame that Vulkan has drawn at a
    /// rate of its own, and waits until it has taken it, for at most [`LatestInfo::timeout`]. What
    /// comes back writes, as the writer of
    /// [`Exchange::latest_render_first`](crate::Exchange::latest_render_first) does.
    ///
    /// Frames are copied for a worker on the CPU; one that computes with CUDA reads the slots
    /// themselves, as in [`latest`](Self::latest). The worker has frames that are finished,
    /// whatever [`LatestInfo::newest`] says.
    ///
    /// # Errors
    /// As [`latest`](Self::latest).
    pub fn latest_render_first<R: Resources>(self, info: &LatestInfo<'_>, resources: R) -> Result<RemoteWriter<R>> {
        RemoteWriter::new(self, info, resources)
    }
}
