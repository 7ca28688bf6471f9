//! A report of this machine's CUDA installation. Creates no context and never panics.

use cudarc::driver::sys::{CUdevice, CUdevice_attribute as Attribute};
use uuid::Uuid;

use crate::error::{Error, PresentDevice, Result};
use crate::sys::{CallError, CallResult, Driver, DriverVersion, INVALID_VALUE};

/// The driver and its devices.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CudaReport {
    /// The newest CUDA version that the driver supports.
    pub version: DriverVersion,
    /// The devices, in the driver's order after `CUDA_VISIBLE_DEVICES`. Never empty: a machine
    /// without devices is an error.
    pub devices: Vec<CudaDeviceReport>,
}

/// The properties of a device that matter for sharing with a graphics API.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CudaDeviceReport {
    /// Index in the driver's order, which differs from that of other APIs: match devices by `uuid`.
    pub ordinal: usize,
    /// Marketing name, such as "NVIDIA H200".
    pub name: String,
    /// UUID of the GPU, or of the MIG instance if the GPU is partitioned. Equals
    /// `VkPhysicalDeviceIDProperties::deviceUUID`.
    #[doc(alias = "cuDeviceGetUuid_v2")]
    pub uuid: Uuid,
    /// The adapter's locally unique ID (Windows only).
    #[doc(alias = "cuDeviceGetLuid")]
    pub luid: Option<[u8; 8]>,
    /// The device's bit in the mask of a linked adapter, if there is a `luid`.
    pub node_mask: Option<u32>,
    /// Compute capability, major and minor.
    pub compute_capability: (u32, u32),
    /// Size of the device memory in bytes.
    pub total_memory: u64,
    /// `true` if timeline semaphores can be imported.
    pub timeline_semaphores: bool,
    /// `true` if memory that CUDA allocates can be exported as a file descriptor (the opposite
    /// direction of this crate).
    pub posix_fd_export: bool,
    /// `true` if the device can map the memory of other GPUs, see
    /// [`ImportedMemory::import_peer`](crate::ImportedMemory::import_peer).
    pub virtual_memory: bool,
    /// Compute mode of the device.
    pub compute_mode: ComputeMode,
    /// `true` if the GPU shares the host's memory.
    pub integrated: bool,
    /// `true` if this is a MIG instance. Graphics APIs do not report MIG instances under the same
    /// UUID.
    pub mig: bool,
}

/// Compute mode of a device: which processes may create a context on it; set with `nvidia-smi -c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ComputeMode {
    /// Any number of processes.
    Shared,
    /// No process.
    Prohibited,
    /// One process at a time.
    ExclusiveProcess,
    /// A mode that this crate does not know.
    Other(i32),
}

impl ComputeMode {
    fn from_raw(raw: i32) -> Self {
        match raw {
            0 => Self::Shared,
            2 => Self::Prohibited,
            3 => Self::ExclusiveProcess,
            other => Self::Other(other),
        }
    }
}

impl CudaDeviceReport {
    /// Returns all known obstacles to sharing timelines and memory with a graphics API; empty if
    /// there are none.
    pub fn obstacles(&self) -> Vec<&'static str> {
        let mut obstacles = Vec::new();
        if !self.timeline_semaphores {
            obstacles.push("it cannot import timeline semaphores; driver 460 or newer can");
        }
        if self.compute_mode == ComputeMode::Prohibited {
            obstacles.push("its compute mode is `prohibited`; `nvidia-smi -c 0` allows contexts");
        }
        if self.mig {
            obstacles.push("it is a MIG instance, which graphics APIs do not see under this UUID");
        }
        obstacles
    }
}

impl CudaReport {
    /// Returns the error for a UUID that no device has, which lists the available devices.
    pub(crate) fn no_such_device(self, uuid: Uuid) -> Error {
        let present = self.devices.into_iter().map(|device| PresentDevice { name: device.name, uuid: device.uuid });
        Error::NoSuchDevice { uuid, present: present.collect() }
    }
}

/// Loads the driver and lists its devices.
///
/// # Errors
/// [`Error::NoDriver`] without libcuda, [`Error::DriverTooOld`] if it lacks functions, and
/// [`Error::Driver`] with an explanation if it cannot start: no device, a kernel module of another
/// version, or the toolkit's stub library.
#[doc(alias = "cuInit")]
pub fn report() -> Result<CudaReport> {
    let driver = Driver::load()?;
    list(driver).map_err(|error| error.at("", ""))
}

fn list(driver: Driver) -> CallResult<CudaReport> {
    driver.init()?;
    let version = DriverVersion::from_raw(driver.version()?);
    let devices = (0..driver.device_count()?).map(|ordinal| {
        let device = driver.device(ordinal)?;
        describe(driver, device, ordinal.unsigned_abs() as usize)
    });
    Ok(CudaReport { version, devices: devices.collect::<Result<_, _>>()? })
}

/// Returns the report of one device of an initialized driver.
pub(crate) fn describe(driver: Driver, device: CUdevice, ordinal: usize) -> CallResult<CudaDeviceReport> {
    let attribute = |attribute| driver.attribute(attribute, device);
    // A driver that does not know an attribute does not support the feature.
    let has = |ability| match attribute(ability) {
        Err(CallError { code: INVALID_VALUE, .. }) => Ok(false),
        answer => answer.map(|value| value != 0),
    };
    let name = driver.device_name(device)?;
    // A device that is not a display adapter has no LUID (the TCC driver model).
    #[cfg(windows)]
    let adapter = driver.device_luid(device).ok();
    #[cfg(not(windows))]
    let adapter: Option<([u8; 8], u32)> = None;
    Ok(CudaDeviceReport {
        ordinal,
        uuid: Uuid::from_bytes(driver.device_uuid(device)?),
        luid: adapter.map(|(luid, _)| luid),
        node_mask: adapter.map(|(_, mask)| mask),
        compute_capability: (
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?.max(0).unsigned_abs(),
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?.max(0).unsigned_abs(),
        ),
        total_memory: driver.total_memory(device)?,
        timeline_semaphores: has(Attribute::CU_DEVICE_ATTRIBUTE_TIMELINE_SEMAPHORE_INTEROP_SUPPORTED)?,
        posix_fd_export: has(Attribute::CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED)?,
        virtual_memory: has(Attribute::CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED)?,
        compute_mode: ComputeMode::from_raw(attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_MODE)?),
        integrated: has(Attribute::CU_DEVICE_ATTRIBUTE_INTEGRATED)?,
        mig: name.contains(" MIG "),
        name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_driver_error_gives_advice() {
        match report() {
            Err(error @ Error::NoDriver { .. }) => {
                let text = error.to_string();
                assert!(text.contains("install"), "{text}");
            }
            Err(other) => assert!(!other.to_string().is_empty()),
            Ok(report) => {
                use std::io::Write;
                let _ = writeln!(std::io::stderr(), "skipped: with {} here, NoDriver cannot be seen", report.version);
            }
        }
    }

    #[test]
    fn obstacles_are_listed_together() {
        let mut device = CudaDeviceReport {
            ordinal: 0,
            name: "test".to_owned(),
            uuid: Uuid::nil(),
            luid: None,
            node_mask: None,
            compute_capability: (8, 0),
            total_memory: 1,
            timeline_semaphores: true,
            posix_fd_export: true,
            virtual_memory: true,
            compute_mode: ComputeMode::Shared,
            integrated: false,
            mig: false,
        };
        assert!(device.obstacles().is_empty());
        device.timeline_semaphores = false;
        device.compute_mode = ComputeMode::from_raw(2);
        device.mig = true;
        assert_eq!(device.obstacles().len(), 3);
    }
}
