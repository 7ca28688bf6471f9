//! The listener, which accepts workers.

use std::path::Path;
use std::time::Duration;

use bridge_ipc::{Hello, Role};
use vk_export::ExportDevice;

use super::accepted::Remote;
use crate::error::{Error, Result};
use crate::observe::log_info;

/// A Unix socket that workers connect to, accessible to this user's processes only.
///
/// `docs/processes.md` in the repository describes workers and how each side survives the other.
/// Dropping the listener removes the socket's file; accepted workers stay connected.
#[derive(Debug)]
pub struct Listener(bridge_ipc::Listener);

/// Configuration of [`Listener::bind_with`]: limits for processes that have connected but not sent
/// their Hello.
#[derive(Debug, Clone, Copy)]
pub struct ListenerInfo {
    /// Limit on the time from a worker's connection to its Hello. A worker starts CUDA in between.
    /// More than zero. Default: 30 seconds.
    pub handshake_timeout: Duration,
    /// Limit on the number of such processes; the next one is refused. At least 1. Default: 64.
    pub pending: usize,
}

impl Default for ListenerInfo {
    fn default() -> Self {
        let bridge_ipc::ListenerInfo { handshake_timeout, pending, .. } = bridge_ipc::ListenerInfo::default();
        Self { handshake_timeout, pending }
    }
}

/// Configuration of [`Listener::accept_with`].
#[derive(Debug, Clone, Copy)]
pub struct AcceptInfo {
    /// How long to wait for a worker. Default: zero, which does not wait.
    pub timeout: Duration,
    /// Whether to allow exchanges in step ([`Remote::exchange`]), which workers have to allow too.
    /// Commands of this process then wait on the GPU for frames that a worker has announced, and a
    /// worker that does not finish them in time is killed. A worker with CUDA can signal any value
    /// on the timelines that it gets, so that this process may then submit lower values
    /// (VUID-VkSubmitInfo2-semaphore-03882): trust only workers that keep to the protocol. Default:
    /// `false`.
    pub trust: bool,
}

impl Default for AcceptInfo {
    fn default() -> Self {
        Self { timeout: Duration::ZERO, trust: false }
    }
}

impl Listener {
    /// Listens at `path` (mode 0600). A socket that a dead process left there is replaced. The
    /// folder must be writable by this user only. During the call, it also contains a lock file,
    /// `.NAME.vk-cuda-bridge` for a socket NAME.
    ///
    /// # Errors
    /// [`Error::Connection`](crate::Error::Connection) if another process listens there, if another
    /// kind of file is at the path, or if a system call fails.
    pub fn bind(path: impl AsRef<Path>) -> Result<Self> {
        Self::bind_with(path, &ListenerInfo::default())
    }

    /// Listens at `path` with the given configuration; otherwise like [`bind`](Self::bind).
    ///
    /// # Errors
    /// As [`bind`](Self::bind), and [`Error::InvalidArgument`](crate::Error::InvalidArgument) if
    /// [`ListenerInfo::pending`] or [`ListenerInfo::handshake_timeout`] is zero.
    pub fn bind_with(path: impl AsRef<Path>, info: &ListenerInfo) -> Result<Self> {
        let ListenerInfo { handshake_timeout, pending } = *info;
        let reason = if pending == 0 {
            Some("`ListenerInfo::pending` is 0, so no worker could connect; set it to at least 1")
        } else if handshake_timeout.is_zero() {
            Some(
                "`ListenerInfo::handshake_timeout` is zero, so no worker could send its Hello in time; set a longer one",
            )
        } else {
            None
        };
        if let Some(reason) = reason {
            return Err(Error::invalid(format!("the listener at {}", path.as_ref().display()), reason));
        }
        let info = bridge_ipc::ListenerInfo { handshake_timeout, pending, ..Default::default() };
        Ok(Self(bridge_ipc::Listener::bind_with(path, &info)?))
    }

    /// Returns the path of the socket.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Waits for the next worker, for exchanges on `device`, for at most `timeout`. Returns `None`
    /// if none has connected.
    ///
    /// A worker is returned once it has sent its Hello, which it does after starting CUDA. A
    /// connection without a Hello stays with the listener for up to
    /// [`ListenerInfo::handshake_timeout`], for a later call with this device. A `timeout` of zero
    /// therefore never waits, and suits an engine's frame loop.
    ///
    /// Workers compute on the CPU, or with CUDA if the device exports its memory and timelines
    /// ([`ExportDevice::require_export`]). The worker chooses among the backends that this process
    /// allows. This process does not need CUDA for either.
    ///
    /// # Errors
    /// [`Error::Connection`](crate::Error::Connection) for a process that may not connect, sends no
    /// valid Hello in time, or has ended. Its connection is closed, and the listener stays usable.
    pub fn accept(&self, device: &ExportDevice, timeout: Duration) -> Result<Option<Remote>> {
        self.accept_with(device, &AcceptInfo { timeout, ..AcceptInfo::default() })
    }

    /// [`accept`](Self::accept) with a configuration. Calls with `trust` never return a worker that
    /// connected to a call without it, and vice versa.
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    pub fn accept_with(&self, device: &ExportDevice, info: &AcceptInfo) -> Result<Option<Remote>> {
        let AcceptInfo { timeout, trust } = *info;
        let mut hello = Hello::new(Role::Renderer, &device.name()[..device.name().floor_char_boundary(64)]);
        (hello.host, hello.trust, hello.device_uuid) = (true, trust, device.uuid());
        let exports = device.require_export("workers that compute with CUDA");
        hello.cuda = exports.is_ok();
        let Some(connection) = self.0.handshake(&hello, timeout)? else { return Ok(None) };
        if let Err(error) = exports {
            log_info!("workers compute on the CPU: {error}");
        }
        Ok(Some(Remote { connection, device: device.clone() }))
    }
}
