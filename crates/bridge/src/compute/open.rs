//! [`Compute::open`], which opens a Vulkan device and creates its compute side.

use vk_export::{DeviceSelector, ExportDevice, OpenInfo};

use crate::compute::{Backend, Compute};
use crate::error::Result;

impl Compute {
    /// Opens a Vulkan device and creates its compute side; [`device`](Self::device) returns the
    /// device.
    ///
    /// With [`DeviceSelector::Best`] and a backend that may use CUDA, GPUs that can share memory
    /// with CUDA are preferred to all others, in CUDA's order. This matters on a machine with
    /// several GPUs, and if `CUDA_VISIBLE_DEVICES` hides some of them.
    ///
    /// # Errors
    /// The errors of [`ExportDevice::open`] and [`Compute::new`].
    pub fn open(info: &OpenInfo<'_>, backend: Backend) -> Result<Self> {
        let device = match (&info.device, backend) {
            (DeviceSelector::Best, Backend::Auto | Backend::Cuda) => DeviceSelector::Preferred(cuda_devices()),
            (chosen, _) => chosen.clone(),
        };
        Self::new(&ExportDevice::open(&OpenInfo { device, ..info.clone() })?, backend)
    }
}

/// Returns the UUIDs of the CUDA devices that can share memory, in CUDA's order. Empty without a
/// CUDA driver, which [`Compute::new`] reports.
fn cuda_devices() -> Vec<vk_export::Uuid> {
    let Ok(found) = cuda_import::report() else { return Vec::new() };
    let able = found.devices.into_iter().filter(|device| device.obstacles().is_empty());
    able.map(|device| device.uuid).collect()
}
