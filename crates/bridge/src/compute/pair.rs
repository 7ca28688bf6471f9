//! A Vulkan device and a CUDA device that are the same GPU.

use cuda_import::CudaDevice;
use vk_export::ExportDevice;

use crate::adapter::AdapterId;
use crate::error::{Error, Result};

/// A Vulkan device and a CUDA device that are the same GPU: their UUIDs are equal and, on Windows,
/// their LUIDs and node masks do not differ.
#[derive(Debug, Clone)]
pub(crate) struct DevicePair {
    vulkan: ExportDevice,
    cuda: CudaDevice,
}

impl DevicePair {
    /// Opens the CUDA device that is the same GPU as `vulkan`.
    ///
    /// # Errors
    /// [`Error::Vulkan`] if the device cannot export, listing everything that it lacks;
    /// [`Error::Cuda`] if CUDA is not available, no CUDA device has that UUID, or the device does
    /// not support timeline semaphores.
    pub(crate) fn open(vulkan: &ExportDevice) -> Result<Self> {
        Self::new(vulkan, CudaDevice::by_uuid(vulkan.uuid())?)
    }

    /// Pairs two existing devices.
    ///
    /// # Errors
    /// [`Error::DifferentDevices`] and, on Windows, [`Error::DifferentAdapters`] naming both,
    /// otherwise the errors of [`open`](Self::open).
    pub(crate) fn new(vulkan: &ExportDevice, cuda: CudaDevice) -> Result<Self> {
        if vulkan.uuid() != cuda.uuid() {
            return Err(Error::DifferentDevices {
                vulkan: vulkan.name().to_owned(),
                vulkan_uuid: vulkan.uuid(),
                cuda: cuda.name().to_owned(),
                cuda_uuid: cuda.uuid(),
            });
        }
        let physical = vulkan.physical();
        let (vulkan_adapter, cuda_adapter) = (
            AdapterId::new(physical.luid, physical.node_mask),
            AdapterId::new(cuda.report().luid, cuda.report().node_mask),
        );
        if let (Some(vulkan_adapter), Some(cuda_adapter)) = (vulkan_adapter, cuda_adapter)
            && !vulkan_adapter.may_equal(&cuda_adapter)
        {
            return Err(Error::DifferentAdapters {
                vulkan: vulkan.name().to_owned(),
                vulkan_adapter,
                cuda: cuda.name().to_owned(),
                cuda_adapter,
            });
        }
        vulkan.require_export("sharing with CUDA")?;
        cuda.require_timeline_semaphores("the exchange's timelines")?;
        Ok(Self { vulkan: vulkan.clone(), cuda })
    }

    /// Returns the Vulkan device.
    pub(crate) fn vulkan(&self) -> &ExportDevice {
        &self.vulkan
    }

    /// Returns the CUDA device.
    pub(crate) fn cuda(&self) -> &CudaDevice {
        &self.cuda
    }
}
