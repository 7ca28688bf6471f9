//! A connection with a renderer.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bridge_ipc::{Backend, Code, ConnectInfo, Connection, Hello, Message, Role, Uuid};
use bridge_trace::log_warn;
use cuda_import::CudaDevice;

use crate::device;
use crate::error::{Error, Result};
use crate::exchange::ExchangeWriter;
use crate::exchange_reader::ExchangeReader;
use crate::frame::Frame;
use crate::link::Link;
use crate::reader::LatestReader;
use crate::shared::Shared;
use crate::writer::LatestWriter;

/// Configuration of a [`Worker`].
#[derive(Debug, Clone)]
pub struct WorkerInfo<'a> {
    /// Name in the renderer's errors and logs, up to 64 bytes. Default: "worker".
    pub name: &'a str,
    /// The backend. Default: CUDA on the renderer's GPU, or the CPU where that cannot be had and the
    /// renderer allows it, which is logged: see [`Worker::reason`].
    ///
    /// A program that computes with CUDA by itself may use the CPU's as well, wherever its CUDA
    /// device is: it copies its results to the host, and writes them into its turns.
    pub backend: Option<Backend>,
    /// The CUDA device. Default: the renderer's GPU. Where CUDA does not see that and the backend is
    /// CUDA, or the renderer allows no other, one that may reach its memory; NVIDIA's driver 580
    /// refuses the renderer's timelines then ([`Error::HiddenGpu`]). To compute on another GPU, let
    /// CUDA see both and name it here.
    pub device: Option<Uuid>,
    /// The limit of every wait on the host. Once the renderer's socket has ended without a word,
    /// calls wait for the end of its process as long, or for 5 seconds if that is longer, all of
    /// them together. Default: 5 seconds.
    pub timeout: Duration,
    /// The user whose process the renderer must be. Default: this process's own.
    pub user: Option<u32>,
    /// Whether to take part in exchanges in step, where the renderer allows them too
    /// ([`Worker::exchange`], [`Worker::exchange_reader`]): each GPU then waits for the other
    /// process, and the renderer ends this one where it does not finish what it has announced.
    /// Default: no.
    pub trust: bool,
}

impl Default for WorkerInfo<'_> {
    fn default() -> Self {
        Self { name: "worker", backend: None, device: None, timeout: Duration::from_secs(5), user: None, trust: false }
    }
}

/// A connection with a renderer. Exchanges keep it: dropping the last of all says goodbye.
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

    /// [`connect`](Self::connect) with a configuration.
    ///
    /// # Errors
    /// [`Error::Connection`] where nobody listens, or one who is not to be trusted; [`Error::NoBackend`]
    /// where the renderer allows none that can be had; [`Error::Cuda`] where CUDA cannot be had and
    /// nothing else will do.
    pub fn connect_with(path: impl AsRef<Path>, info: &WorkerInfo<'_>) -> Result<Self> {
        bridge_trace::init();
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
        connection.send(&Message::Hello(hello), None, info.timeout)?;
        let link = Link::new(connection, info.timeout)?;
        let trust = info.trust;
        let shared = Shared { link, cuda, reason, renderer, timeout: info.timeout, trust };
        bridge_trace::event(shared.event("connect", &shared.renderer.name).peer(shared.renderer.pid));
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Returns where the worker computes.
    pub fn backend(&self) -> Backend {
        if self.shared.cuda.is_some() { Backend::Cuda } else { Backend::Host }
    }

    /// Returns the reason for this backend and device, in words for the user.
    pub fn reason(&self) -> &str {
        &self.shared.reason
    }

    /// The CUDA device, to load kernels with; `None` on the CPU.
    pub fn cuda(&self) -> Option<&CudaDevice> {
        self.shared.cuda.as_ref()
    }

    /// Returns the Hello of the renderer.
    pub fn renderer(&self) -> &Hello {
        &self.shared.renderer
    }

    /// The writer of the exchange of this name, which the renderer has offered or is about to:
    /// waited for up to the limit. With CUDA it has a stream of its own.
    ///
    /// # Errors
    /// [`Error::Timeout`] where it is not offered; [`Error::Mismatch`] where it is another one than
    /// `F`, and [`Error::Cuda`] where it cannot be imported: the renderer is told.
    /// [`Error::HiddenGpu`] where CUDA does not see the GPU that draws and its timelines cannot be
    /// imported; [`Error::Connection`] for memory files that cannot be used.
    /// [`Error::PeerLost`] and [`Error::Closed`] as for [`LatestWriter::begin`].
    pub fn latest<F: Frame>(&self, name: &str) -> Result<LatestWriter<F>> {
        LatestWriter::new(&self.shared, name, false)
    }

    /// The exchange in step of this name, which the renderer has offered or is about to: waited for
    /// up to the limit. The renderer has each of its frames, once and in order, and each side's GPU
    /// waits for the other's.
    ///
    /// Both sides have to ask for it: this one with [`WorkerInfo::trust`]. Load and launch every
    /// kernel once before the first frame.
    ///
    /// # Errors
    /// [`Error::NoTrust`] where a side has not; else as [`latest`](Self::latest).
    pub fn exchange<F: Frame>(&self, name: &str) -> Result<ExchangeWriter<F>> {
        self.require_trust(name)?;
        ExchangeWriter::new(&self.shared, name)
    }

    /// The exchange in step of this name whose frames the renderer draws, which it has offered or
    /// is about to: waited for up to the limit. This side has each of its frames, once and in
    /// order, and each side's GPU waits for the other's.
    ///
    /// As for [`exchange`](Self::exchange), both sides have to ask for it, and kernels are loaded
    /// before the first frame.
    ///
    /// # Errors
    /// As [`exchange`](Self::exchange), and [`Error::Mismatch`] where the renderer speaks a version
    /// of the protocol that has none.
    pub fn exchange_reader<F: Frame>(&self, name: &str) -> Result<ExchangeReader<F>> {
        self.require_trust(name)?;
        let version = {
            let state = self.shared.link.state();
            let session = state.connection.session();
            (!session.has_trusted_readers()).then(|| session.version().unwrap_or(0))
        };
        if let Some(version) = version {
            let since = bridge_ipc::RENDERER_IN_STEP_SINCE;
            let reason = format!(
                "the renderer draws in step since version {since} of the protocol, and speaks version {version}; use a \
                 newer renderer, or `Worker::latest_reader`"
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

    /// The reader of the exchange of this name, whose frames the renderer draws.
    ///
    /// # Errors
    /// As [`latest`](Self::latest).
    pub fn latest_reader<F: Frame>(&self, name: &str) -> Result<LatestReader<F>> {
        LatestReader::new(&self.shared, name)
    }
}

/// The CUDA device, `None` for the CPU, and why.
fn choose(renderer: &Hello, info: &WorkerInfo<'_>) -> Result<(Option<CudaDevice>, String)> {
    let allowed = |backend| info.backend.is_none_or(|asked| asked == backend) && renderer.has(backend);
    let mut reasons = Vec::new();
    if allowed(Backend::Cuda) {
        match device::choose(renderer, info.device, !allowed(Backend::Host)) {
            Ok((device, reason)) => return Ok((Some(device), reason)),
            // The error itself, where nothing else is left.
            Err(error) if !allowed(Backend::Host) => return Err(error),
            Err(error) => reasons.push(format!("CUDA: {error}")),
        }
    } else if info.backend != Some(Backend::Host) {
        reasons.push("CUDA: the renderer does not allow it".to_owned());
    }
    if allowed(Backend::Host) {
        if info.backend.is_some() {
            return Ok((None, "the CPU was asked for".to_owned()));
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
