//! Information about CUDA and its devices.

use bridge::cuda_import::{self, Error};
use serde::Serialize;

/// Information about CUDA and its devices.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Cuda {
    /// The newest CUDA version that the driver supports, such as "13.0"; `None` if no driver
    /// starts.
    pub version: Option<String>,
    /// Why CUDA cannot be used, if so.
    pub problem: Option<CudaProblem>,
    /// The devices, in CUDA's order.
    pub devices: Vec<CudaDevice>,
}

/// Why CUDA cannot be used.
#[derive(Debug, Clone, Serialize)]
pub struct CudaProblem {
    /// The kind of the problem.
    pub kind: CudaProblemKind,
    /// The driver's error code, if any.
    pub code: Option<u32>,
    /// Description of the problem, with what to do.
    pub text: String,
}

/// Kinds of reasons why CUDA cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CudaProblemKind {
    /// The driver library is missing.
    NoDriver,
    /// The driver lacks required functions.
    TooOld,
    /// The driver does not start.
    DoesNotStart,
}

/// A CUDA device.
#[derive(Debug, Clone, Default, Serialize)]
pub struct CudaDevice {
    /// The index of the device in CUDA's list.
    pub ordinal: usize,
    /// The name of the device.
    pub name: String,
    /// The UUID, which identifies the matching Vulkan device.
    pub uuid: String,
    /// The identity of its adapter on Windows.
    pub adapter: Option<String>,
    /// The compute capability, such as "9.0".
    pub compute_capability: String,
    /// Total memory in bytes.
    pub total_memory: u64,
    /// `true` if the device can import timeline semaphores.
    pub timeline_semaphores: bool,
    /// `true` if memory that CUDA allocates can be exported as a file descriptor.
    pub posix_fd_export: bool,
    /// `true` if the device shares the host's memory.
    pub integrated: bool,
    /// `true` if the device is a MIG instance, a part of a split GPU.
    pub mig: bool,
    /// Reasons why the device cannot share memory.
    pub obstacles: Vec<String>,
}

impl Cuda {
    /// Queries the driver.
    pub fn query() -> Self {
        match cuda_import::report() {
            Ok(report) => Self {
                version: Some(format!("{}.{}", report.version.major, report.version.minor)),
                problem: None,
                devices: report.devices.iter().map(CudaDevice::new).collect(),
            },
            Err(error) => Self { problem: Some(CudaProblem::new(&error)), ..Self::default() },
        }
    }
}

impl CudaProblem {
    fn new(error: &Error) -> Self {
        let kind = match error {
            Error::NoDriver { .. } => CudaProblemKind::NoDriver,
            Error::DriverTooOld { .. } => CudaProblemKind::TooOld,
            _ => CudaProblemKind::DoesNotStart,
        };
        Self { kind, code: error.driver_code().map(|code| code.0), text: error.to_string() }
    }
}

impl CudaDevice {
    fn new(report: &cuda_import::CudaDeviceReport) -> Self {
        let (major, minor) = report.compute_capability;
        Self {
            ordinal: report.ordinal,
            name: report.name.clone(),
            uuid: report.uuid.to_string(),
            adapter: bridge::AdapterId::new(report.luid, report.node_mask).map(|id| id.to_string()),
            compute_capability: format!("{major}.{minor}"),
            total_memory: report.total_memory,
            timeline_semaphores: report.timeline_semaphores,
            posix_fd_export: report.posix_fd_export,
            integrated: report.integrated,
            mig: report.mig,
            obstacles: report.obstacles().into_iter().map(str::to_owned).collect(),
        }
    }
}
