//! What CUDA says of itself.

use bridge::cuda_import::{self, Error};
use serde::Serialize;

/// What CUDA says of itself.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Cuda {
    /// The newest CUDA that the driver supports, as "13.0"; nothing without a driver that starts.
    pub version: Option<String>,
    /// Why it cannot be used.
    pub problem: Option<CudaProblem>,
    /// The devices, in CUDA's order.
    pub devices: Vec<CudaDevice>,
}

/// Why CUDA cannot be used.
#[derive(Debug, Clone, Serialize)]
pub struct CudaProblem {
    /// Kind of the problem.
    pub kind: CudaProblemKind,
    /// The driver's own code, where it said one.
    pub code: Option<u32>,
    /// In words, with what to do.
    pub text: String,
}

/// Kinds of reasons why CUDA cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CudaProblemKind {
    /// There is no driver library.
    NoDriver,
    /// It lacks calls.
    TooOld,
    /// It does not start.
    DoesNotStart,
}

/// A CUDA device.
#[derive(Debug, Clone, Default, Serialize)]
pub struct CudaDevice {
    /// Its place in CUDA's list.
    pub ordinal: usize,
    /// Its name.
    pub name: String,
    /// What matches it with a Vulkan device.
    pub uuid: String,
    /// What Windows knows it by.
    pub adapter: Option<String>,
    /// As "9.0".
    pub compute_capability: String,
    /// Bytes.
    pub total_memory: u64,
    /// Whether it can import timeline semaphores.
    pub timeline_semaphores: bool,
    /// Whether memory that CUDA allocates can be exported as a descriptor.
    pub posix_fd_export: bool,
    /// Whether it shares the host's memory.
    pub integrated: bool,
    /// Whether it is a part of a GPU that MIG has split.
    pub mig: bool,
    /// What keeps it from sharing.
    pub obstacles: Vec<String>,
}

impl Cuda {
    /// Asks the driver.
    pub fn look() -> Self {
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
