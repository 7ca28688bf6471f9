//! A connection with a renderer.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bridge_ipc::{Backend, Code, ConnectInfo, Connection, Hello, Message, Role, Uuid};
use bridge_trace::log_warn;
use cuda_import::CudaDevice;

use crate::device;
use crate::error::{Error, Result};
use crate::exchange::latest::reader::LatestReader;
use crate::exchange::latest::writer::LatestWriter;
use crate::exchange::reader::ExchangeReader;
use crate::exchange::writer::ExchangeWriter;
use crate::link::Link;
use crate::resources::Resources;
use crate::shared::Shared;
use crate::side::ended_error;
use crate::trace;

/// Configuration of a [`Worker`].
#[derive(Debug, Clone)]
pub struct WorkerInfo<'a> {
    /// Name in the renderer's errors and logs, up to 64 bytes. Default: "worker".
    pub name: &'a str,
    /// The backend. Default: CUDA on the renderer's GPU, or the CPU if CUDA is not available there
    /// and the renderer allows the CPU. The fallback is logged; see [`Worker::reason`].
    ///
    /// A program that uses CUDA on its own, on any device, can choose the CPU backend as well: it
    /// copies its results to the host and writes them into its turns.
    pub backend: Option<Backend>,
    /// The CUDA device. Default: the renderer's GPU. If CUDA does not see that GPU, and the backend
    /// is CUDA or the renderer allows no other, a GPU that may reach its memory; NVIDIA's driver
    /// 580 then refuses the renderer's timelines ([`Error::HiddenGpu`]). To compute on another GPU,
    /// make both visible to CUDA and name it here.
    pub device: Option<Uuid>,
    /// Time limit of every wait on the host. If the renderer's socket closes without a message,
    /// calls wait for the end of its process for this time, or for 5 seconds if that is longer, all
    /// calls together. Default: 5 seconds.
    pub timeout: Duration,
    /// ID of the user that the renderer's process must belong to. Default: this process's own.
    pub user: Option<u32>,
    /// Whether to take part in exchanges in step, if the renderer allows them too
    /// ([`Worker::exchange`], [`Worker::exchange_reader`]). Each GPU then waits for the other
    /// process, and the renderer kills this process if it does not finish what it has announced.
    /// Default: `false`.
    pub trust: bool,
}

impl Default for WorkerInfo<'_> {
    fn default() -> Self {
        Self { name: "worker", backend: None, device: None, timeout: Duration::from_secs(5), user: None, trust: false }
    }
}

/// A connection with a renderer. Exchanges keep it open: it is closed, and the renderer notified,
/// when the worker and all its exchanges have been dropped.
#[derive(Debug)]
pub struct Worker {
    shared: Arc<Shared>,
}

impl Worker {
    /// Connects to the renderer that listens at `path`.
    ///
    /// # Errors
    /// As [`connect_with`](Self::connect_with).
    pub fn connect(path: impl AsRef<Path>) -> Result<Self> {
        Self::connect_with(path, &WorkerInfo::default())
    }

    /// Connects with the given configuration; otherwise like [`connect`](Self::connect).
    ///
    /// # Errors
    /// [`Error::Connection`] if no process listens at `path`, or if the one that does is not
    /// trusted; [`Error::NoBackend`] if no backend that the renderer allows is available;
    /// [`Error::Cuda`] if CUDA is required but not available.
    pub fn connect_with(path: impl AsRef<Path>, info: &WorkerInfo<'_>) -> Result<Self> {
        trace::init();
        let connect = ConnectInfo { user: info.user, timeout: info.timeout };
        let mut connection = Connection::connect(path, &connect)?;
        let Some(renderer) = connection.peer_hello().cloned() else {
            return Err(Error::NoBackend { reason: "the renderer has not said which it allows".to_owned() });
        };
        let (cuda, reason) = match choose(&renderer, info) {
            Ok(chosen) => chosen,
            Err(error) => {
                connection.close(Code::Backend, &error.to_string());
                return Err(error);
            }
        };
        let hello = Hello {
            cuda: cuda.is_some(),
            host: cuda.is_none(),
            device_uuid: cuda.as_ref().map_or(Uuid::nil(), CudaDevice::uuid),
            driver_version: cuda.as_ref().map_or(0, |device| {
                let version = device.driver_version();
                version.major * 1000 + version.minor * 10
            }),
            trust: info.trust,
            ..Hello::new(Role::Worker, info.name)
        };
        let sent = connection.send(&Message::Hello(hello), None, info.timeout);
        // CUDA may have taken longer to start than the renderer waits.
        sent.map_err(|error| connection.close_reason(error))?;
        let link = Link::new(connection, info.timeout)?;
        let trust = info.trust;
        let shared = Shared { link, cuda, reason, renderer, timeout: info.timeout, trust };
        trace::connect(&shared);
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Returns the backend that the worker computes with.
    pub fn backend(&self) -> Backend {
        if self.shared.cuda.is_some() { Backend::Cuda } else { Backend::Host }
    }

    /// Returns why this backend and device were chosen, as text for the user.
    pub fn reason(&self) -> &str {
        &self.shared.reason
    }

    /// Returns the CUDA device, for loading kernels, or `None` on the CPU.
    pub fn cuda(&self) -> Option<&CudaDevice> {
        self.shared.cuda.as_ref()
    }

    /// Returns the renderer's Hello message.
    pub fn renderer(&self) -> &Hello {
        &self.shared.renderer
    }

    /// Returns the writer of the exchange with this name. Waits until the renderer offers it, for
    /// at most [`WorkerInfo::timeout`]. With CUDA, the writer has its own stream.
    ///
    /// # Errors
    /// [`Error::Timeout`] if it is not offered; [`Error::Mismatch`] if its resources are not `R`,
    /// and [`Error::Cuda`] if it cannot be imported, both of which are also reported to the
    /// renderer; [`Error::HiddenGpu`] if CUDA does not see the GPU that draws and its timelines
    /// cannot be imported; [`Error::Connection`] for memory files that cannot be used.
    /// [`Error::PeerLost`] and [`Error::Closed`] as for [`LatestWriter::begin`].
    pub fn latest<R: Resources>(&self, name: &str) -> Result<LatestWriter<R>> {
        LatestWriter::new(&self.shared, name, false)
    }

    /// Returns the exchange in step with this name. Waits until the renderer offers it, for at most
    /// [`WorkerInfo::timeout`]. The renderer gets each of its frames once and in order, and each
    /// side's GPU waits for the other's.
    ///
    /// Both sides have to allow it, this side with [`WorkerInfo::trust`]. Load and launch every
    /// kernel once before the first frame.
    ///
    /// # Errors
    /// [`Error::NoTrust`] if a side does not allow it; otherwise as [`latest`](Self::latest).
    pub fn exchange<R: Resources>(&self, name: &str) -> Result<ExchangeWriter<R>> {
        self.require_trust(name)?;
        ExchangeWriter::new(&self.shared, name)
    }

    /// Returns the exchange in step with this name, whose frames the renderer draws. Waits until
    /// the renderer offers it, for at most [`WorkerInfo::timeout`]. This side gets each of its
    /// frames once and in order, and each side's GPU waits for the other's.
    ///
    /// As for [`exchange`](Self::exchange), both sides have to allow it, and every kernel should be
    /// loaded before the first frame.
    ///
    /// # Errors
    /// As [`exchange`](Self::exchange), and [`Error::Mismatch`] if the renderer speaks a version of
    /// the protocol without such exchanges.
    pub fn exchange_reader<R: Resources>(&self, name: &str) -> Result<ExchangeReader<R>> {
        self.require_trust(name)?;
        self.shared.link.check_owner().map_err(|ended| ended_error(&self.shared, name, 0, None, ended))?;
        let version = {
            let state = self.shared.link.state();
            let session = state.connection.session();
            (!session.has_trusted_readers()).then(|| session.version().unwrap_or(0))
        };
        if let Some(version) = version {
            let since = bridge_ipc::RENDERER_IN_STEP_SINCE;
            let reason = format!(
                "drawing in step requires version {since} of the protocol, but the renderer uses version {version}; \
                 use a newer renderer, or `Worker::latest_reader`"
            );
            return Err(Error::Mismatch { exchange: name.to_owned(), reason });
        }
        ExchangeReader::new(&self.shared, name)
    }

    /// Checks that both sides allow exchanges in step.
    fn require_trust(&self, name: &str) -> Result<()> {
        let who = match (self.shared.trust, self.shared.renderer.trust) {
            (true, true) => return Ok(()),
            (false, _) => "this worker was connected without `WorkerInfo::trust`",
            (true, false) => "the renderer accepts workers without `AcceptInfo::trust`",
        };
        Err(Error::NoTrust { exchange: name.to_owned(), who })
    }

    /// Returns the reader of the exchange with this name, whose frames the renderer draws.
    ///
    /// # Errors
    /// As [`latest`](Self::latest).
    pub fn latest_reader<R: Resources>(&self, name: &str) -> Result<LatestReader<R>> {
        LatestReader::new(&self.shared, name)
    }
}

/// Chooses the CUDA device, or `None` for the CPU, and returns the reason.
fn choose(renderer: &Hello, info: &WorkerInfo<'_>) -> Result<(Option<CudaDevice>, String)> {
    let allowed = |backend| info.backend.is_none_or(|asked| asked == backend) && renderer.has(backend);
    let mut reasons = Vec::new();
    if allowed(Backend::Cuda) {
        match device::choose(renderer, info.device, !allowed(Backend::Host)) {
            Ok((device, reason)) => return Ok((Some(device), reason)),
            // If no other backend is allowed, the error itself is returned.
            Err(error) if !allowed(Backend::Host) => return Err(error),
            Err(error) => reasons.push(format!("CUDA: {error}")),
        }
    } else if info.backend != Some(Backend::Host) {
        reasons.push("CUDA: the renderer does not allow it".to_owned());
    }
    if allowed(Backend::Host) {
        if info.backend.is_some() {
            return Ok((None, "the CPU was requested".to_owned()));
        }
        let reason = reasons.join("; ");
        log_warn!("the worker computes on the CPU: {reason}");
        return Ok((None, reason));
    }
    if info.backend != Some(Backend::Cuda) {
        reasons.push("the CPU: the renderer does not allow it".to_owned());
    }
    Err(Error::NoBackend { reason: reasons.join("; ") })
}
