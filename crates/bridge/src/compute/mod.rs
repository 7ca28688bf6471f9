//! The compute side of an exchange: CUDA on the same GPU or on other GPUs, the CPU, or CUDA kernels
//! in the Vulkan queue.

pub(crate) mod cuda;
pub(crate) mod exchange_registry;
pub(crate) mod gpus;
pub(crate) mod host;
mod import;
pub(crate) mod inline;
pub(crate) mod loss;
pub(crate) mod mapped;
pub(crate) mod mappings;
mod open;
pub(crate) mod pair;
mod parse;
pub(crate) mod peer;
pub(crate) mod per_backend;
pub(crate) mod remote;
pub(crate) mod side;

use std::sync::Arc;

use cuda_import::cudarc::driver::CudaStream;
use cuda_import::{CudaDevice, Restoring};
use vk_export::{ExportDevice, QueueKind};

use crate::compute::cuda::CudaCompute;
use crate::compute::gpus::Gpus;
use crate::compute::host::stream::HostStream;
use crate::compute::inline::InlineCompute;
use crate::compute::loss::Loss;
use crate::compute::pair::DevicePair;
use crate::compute::per_backend::PerBackend;
#[cfg(all(target_os = "linux", feature = "remote"))]
use crate::compute::remote::{RemoteCompute, Trust};
use crate::compute::side::Side;
use crate::error::{Error, Result};
use crate::observe::{log_info, log_warn, trace};
use crate::signaler::Signaler;
use crate::timeline::Peer;

pub(crate) use crate::backend::Backend;

/// The compute side of a Vulkan device. Clones refer to the same compute side.
#[derive(Clone)]
pub struct Compute(Arc<Inner>);

struct Inner {
    // Field order is drop order: the CPU thread ends before the device can be destroyed.
    side: Side,
    device: ExportDevice,
    reason: String,
}

impl Inner {
    fn new(side: Side, device: ExportDevice, reason: String) -> Arc<Self> {
        Arc::new(Self { side, device, reason })
    }
}

impl Compute {
    /// Creates the best compute side for a device: CUDA on the same GPU, otherwise the CPU. A
    /// fallback to the CPU is logged as a warning, and [`reason`](Self::reason) returns its cause.
    ///
    /// For a device that the bridge opens, use [`open`](Self::open), which prefers a GPU that CUDA
    /// sees. This function is for devices that are chosen in another way or adopted.
    ///
    /// # Errors
    /// [`Error::HostFailed`] if the CPU backend's thread cannot be started.
    pub fn for_device(device: &ExportDevice) -> Result<Self> {
        Self::new(device, Backend::Auto)
    }

    /// Creates the compute side for a backend.
    ///
    /// # Errors
    /// [`Error::NoCuda`] with the reason, [`Error::HostFailed`] if a thread cannot be started,
    /// [`Error::InvalidArgument`] for [`Backend::Remote`]. For [`Backend::Inline`],
    /// [`vk_export::Error::Missing`] with what the device lacks for kernels in command buffers, or
    /// the errors of [`inline`](Self::inline).
    pub fn new(device: &ExportDevice, backend: Backend) -> Result<Self> {
        trace::init();
        match backend {
            Backend::Host => return Self::host(device, "requested".into()),
            Backend::Inline => {
                device.require_cuda_kernels("launching CUDA kernels in command buffers")?;
                return Self::inline(device, QueueKind::Graphics);
            }
            Backend::Remote => {
                return Err(Error::invalid(
                    "backend \"remote\"",
                    "accept a worker with a `Listener`, and create its exchange with `Remote::latest`",
                ));
            }
            Backend::Auto | Backend::Cuda => {}
        }
        match Self::cuda_by_uuid(device) {
            Ok(compute) => Ok(compute),
            Err(reason) if backend == Backend::Cuda => {
                Err(Error::NoCuda { vulkan: device.name().to_owned(), reason: Box::new(reason) })
            }
            Err(reason) => {
                log_warn!("computing on the CPU, since CUDA cannot share with \"{}\": {reason}", device.name());
                Self::host(device, format!("CUDA cannot share with it: {reason}"))
            }
        }
    }

    /// Creates a CUDA compute side on an existing stream.
    ///
    /// Use it for kernels that a library launches on its own stream. Joining that stream to another
    /// stream with events adds two waits to each frame, and the GPU resumes a blocked stream
    /// slowly: a frame with a kernel of 13 µs took 177 µs on the stream of the hand-over and 453 µs
    /// on another stream (H200, driver 580.159.04, 2026-11-28).
    ///
    /// Also use it to compute on a [`CudaDevice`] that the program already has, with a
    /// [new stream](CudaDevice::new_stream).
    ///
    /// # Errors
    /// - [`Error::DifferentDevices`] and, on Windows, [`Error::DifferentAdapters`] naming both
    ///   devices.
    /// - [`cuda_import::Error::PerThreadStream`] for the per-thread default stream.
    /// - [`Error::Vulkan`] or [`Error::Cuda`] if a device lacks what sharing needs.
    pub fn on_stream(device: &ExportDevice, stream: Arc<CudaStream>) -> Result<Self> {
        trace::init();
        // Before the first call that can fail: this may be the last owner.
        let stream = Restoring::new(stream);
        let cuda = CudaDevice::adopt(Arc::clone(stream.context()))?;
        cuda_import::check_stream(&stream, &cuda, "a compute side")?;
        let pair = DevicePair::new(device, cuda)?;
        Ok(Self::from_pair(pair, &stream, "the program's own stream".into()))
    }

    /// Creates a compute side in one of the device's own queues: work is recorded into command
    /// buffers, which are submitted before the commands that use the results. [`Backend::Inline`]
    /// is equivalent to this function with [`QueueKind::Graphics`], the main queue.
    ///
    /// Its exchanges must be on the same queue
    /// ([`ExchangeInfo::queue`](crate::ExchangeInfo::queue)).
    ///
    /// Unlike [`Backend::Inline`], this only requires `bufferDeviceAddress`. On a device that
    /// cannot run CUDA kernels, [`load`](Self::load) returns an error, and
    /// [`KernelWork::record`](crate::KernelWork::record) can still record other commands.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a device without buffer addresses
    /// ([`OpenInfo::cuda_kernels`](crate::OpenInfo::cuda_kernels) turns them on), for the transfer
    /// queue, for a queue that the device does not have, and for a device that was adopted without
    /// a [`queue_lock`](crate::AdoptInfo::queue_lock), since the bridge may not submit to its
    /// queues.
    pub fn inline(device: &ExportDevice, queue: QueueKind) -> Result<Self> {
        trace::init();
        let side = PerBackend::Inline(InlineCompute::new(device, queue)?);
        let reason = format!("CUDA kernels are recorded into command buffers of the {queue} queue");
        log_info!("computing in the Vulkan queue of {} ({reason})", device.name());
        Ok(Self(Inner::new(side, device.clone(), reason)))
    }

    fn cuda_by_uuid(device: &ExportDevice) -> Result<Self> {
        let pair = DevicePair::open(device)?;
        let stream = Restoring::new(pair.cuda().new_stream()?);
        let reason = format!("CUDA device {} is the same GPU", pair.cuda().ordinal());
        Ok(Self::from_pair(pair, &stream, reason))
    }

    fn from_pair(pair: DevicePair, stream: &Arc<CudaStream>, reason: String) -> Self {
        log_info!("computing with CUDA on {} ({reason})", pair.cuda().name());
        let device = pair.vulkan().clone();
        Self(Inner::new(PerBackend::Cuda(CudaCompute::new(Gpus::same(pair, stream))), device, reason))
    }

    fn host(device: &ExportDevice, reason: String) -> Result<Self> {
        log_info!("computing on the CPU ({reason})");
        Ok(Self(Inner::new(PerBackend::Host(HostStream::new()?), device.clone(), reason)))
    }

    /// Creates the compute side of workers in other processes, which compute with CUDA on the GPU
    /// of `device`, or on other GPUs if `peers` is set.
    ///
    /// # Errors
    /// [`vk_export::Error::Missing`] for a device that cannot export, [`Error::HostFailed`] if a
    /// thread cannot be started.
    #[cfg(all(target_os = "linux", feature = "remote"))]
    pub(crate) fn remote(device: &ExportDevice, peers: bool) -> Result<Self> {
        device.require_export("sharing with a worker that computes with CUDA")?;
        Self::remote_unchecked(device, peers, Trust::None)
    }

    /// Like [`remote`](Self::remote), for an exchange in step, whose timelines are shared with the
    /// worker.
    #[cfg(all(target_os = "linux", feature = "remote"))]
    pub(crate) fn remote_in_step(device: &ExportDevice, peers: bool) -> Result<Self> {
        device.require_export("sharing with a worker that computes with CUDA")?;
        Self::remote_unchecked(device, peers, Trust::Shared)
    }

    /// Like [`remote`](Self::remote), for a device that exports memory, without checking what else
    /// it exports.
    #[cfg(all(target_os = "linux", feature = "remote"))]
    pub(crate) fn remote_unchecked(device: &ExportDevice, peers: bool, trust: Trust) -> Result<Self> {
        trace::init();
        let side = PerBackend::Remote(RemoteCompute::new(peers, trust)?);
        let reason = "a worker in another process computes with CUDA".to_owned();
        Ok(Self(Inner::new(side, device.clone(), reason)))
    }

    /// Checks that this process computes with it.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if it represents a worker in another process.
    pub(crate) fn require_local(&self, object: impl FnOnce() -> String) -> Result<()> {
        match self.0.side {
            PerBackend::Remote(_) => Err(remote::not_local_error(object())),
            PerBackend::Cuda(_) | PerBackend::Host(_) | PerBackend::Inline(_) => Ok(()),
        }
    }

    /// Creates another compute side of the same kind on the same device, with its own stream or
    /// thread: waits on one do not delay the other.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] with [`Backend::Inline`], where all work shares the Vulkan queue;
    /// or the error of the failed driver call.
    pub(crate) fn with_new_stream(&self, object: &str) -> Result<Self> {
        let inner = &*self.0;
        let side = match &inner.side {
            PerBackend::Cuda(cuda) => PerBackend::Cuda(cuda.with_new_stream()?),
            PerBackend::Host(_) => PerBackend::Host(HostStream::new()?),
            PerBackend::Remote(remote) => PerBackend::Remote(remote.with_new_stream()?),
            PerBackend::Inline(_) => {
                return Err(Error::invalid(
                    object,
                    "with `Backend::Inline` both sides are on one queue, where neither runs ahead of the other; use \
                             `Backend::Cuda` or `Backend::Host`, or an exchange in step (`Exchange::new`, `Exchange::render_first`)",
                ));
            }
        };
        Ok(Self(Inner::new(side, inner.device.clone(), inner.reason.clone())))
    }

    /// Returns `true` if both are clones of the same `Compute`.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Returns the backend in use, which is never [`Backend::Auto`].
    pub fn backend(&self) -> Backend {
        match self.0.side {
            PerBackend::Cuda(_) => Backend::Cuda,
            PerBackend::Host(_) => Backend::Host,
            PerBackend::Inline(_) => Backend::Inline,
            PerBackend::Remote(_) => Backend::Remote,
        }
    }

    /// Returns why this backend was chosen, as text for the user.
    pub fn reason(&self) -> &str {
        &self.0.reason
    }

    /// Returns the Vulkan device that this compute side belongs to.
    pub fn device(&self) -> &ExportDevice {
        &self.0.device
    }

    /// Returns the CUDA side, or `None` with another backend.
    pub fn cuda(&self) -> Option<&CudaCompute> {
        self.0.side.cuda()
    }

    /// Returns the side, with the operations that every compute side has.
    pub(crate) fn side(&self) -> &Side {
        &self.0.side
    }

    /// Returns the compute side as the [`Peer`] of its timelines.
    pub(crate) fn peer(&self) -> Arc<dyn Peer> {
        Arc::clone(&self.0) as Arc<dyn Peer>
    }

    /// Checks that the compute side still works: no kernel has faulted and no closure has panicked.
    ///
    /// A lost CUDA context makes none of the signals that Vulkan's queue waits for. This function
    /// then makes them from the host, for the exchanges of all compute sides in that context. Call
    /// it if a wait of your own for the queue times out.
    ///
    /// If a [`group`](Self::group) has lost only its leading GPU, the others may still use the
    /// resources, and the host does not signal until
    /// [`Exchange::begin`](crate::Exchange::begin) was called, or the exchange was closed or
    /// dropped, which wait for those GPUs.
    ///
    /// # Errors
    /// [`Error::Cuda`] with the sticky code, or [`Error::HostFailed`].
    pub fn check_alive(&self) -> Result<()> {
        let checked = self.0.side.ensure_alive();
        if checked.as_ref().is_err_and(Error::is_device_lost) {
            exchange_registry::release_lost(&self.0.side);
        }
        checked
    }

    /// Returns `true` if all work enqueued so far has completed, including that of skipped and
    /// dropped frames. Does not block. Covers only this compute side's own stream or thread, such
    /// as that of a [`LatestReader`](crate::LatestReader::compute). With [`Backend::Inline`],
    /// recorded kernels are submitted first, which takes the queue lock.
    ///
    /// # Errors
    /// The error of the failed driver call, [`Error::Cuda`] if a kernel has faulted, and
    /// [`vk_export::Error::QueueHeld`] inside [`Queue::with`](vk_export::Queue::with) if there are
    /// recorded kernels.
    pub fn is_idle(&self) -> Result<bool> {
        self.0.side.is_idle()
    }
}

impl Peer for Inner {
    fn trace_side(&self) -> trace::Side {
        self.side.trace_side()
    }

    fn is_foreign(&self) -> bool {
        self.side.is_foreign()
    }

    fn imports_timeline(&self, signaler: Signaler) -> bool {
        self.side.imports_timeline(signaler)
    }

    fn ensure_alive(&self) -> Result<()> {
        self.side.ensure_alive()
    }

    fn is_lost(&self) -> bool {
        self.side.loss() == Loss::All
    }

    fn release_lost(&self) {
        exchange_registry::release_lost(&self.side);
    }

    fn flush(&self) -> Result<()> {
        self.side.flush()
    }
}

impl std::fmt::Debug for Compute {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Compute({} for {:?}: {})", self.backend(), self.0.device.name(), self.0.reason)
    }
}
