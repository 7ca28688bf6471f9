//! The device that all cases run on.

use std::ffi::CStr;

use anyhow::{Result, bail};
use bridge::ash::{ext, khr, vk};
use bridge::vk_export::{CUDA_KERNEL_EXTENSIONS, DeviceSelector, Queue, Validation};
use bridge::{Compute, CudaCompute, ExportDevice, OpenInfo, QueueKind};

use crate::harness::Skip;
use crate::options::Options;

/// Both sides of a GPU.
pub(crate) struct Gpu {
    // Field order is drop order: the compute side's thread ends before the device may be destroyed.
    pub(crate) compute: Compute,
    pub(crate) device: ExportDevice,
    extensions: Vec<&'static CStr>,
}

/// Enabled if the device has them: pinned memory as a staging buffer, and one clock for both sides.
const OPTIONAL: [&CStr; 3] =
    [ext::external_memory_host::NAME, ext::calibrated_timestamps::NAME, khr::calibrated_timestamps::NAME];

impl Gpu {
    /// Opens the device that the options select, and a compute side on the same GPU.
    pub(crate) fn open(options: &Options) -> Result<Self> {
        let chosen = options.gpu.as_deref().map(str::parse::<DeviceSelector>).transpose()?.unwrap_or_default();
        let open = |device, extensions: &[&CStr], kernels: bool| {
            ExportDevice::open(&OpenInfo {
                application_name: "bridge-bench",
                device,
                validation: if options.validate { Validation::Required } else { Validation::Off },
                features: vk::PhysicalDeviceFeatures { large_points: vk::TRUE, ..Default::default() },
                dynamic_rendering: true,
                device_extensions: extensions,
                cuda_kernels: kernels,
                ..OpenInfo::default()
            })
        };
        let found = open(chosen, &[], false)?;
        if found.api_version() < vk::API_VERSION_1_3 {
            bail!("{} has no Vulkan 1.3, which the calls written by hand use", found.name());
        }
        let extensions: Vec<_> = OPTIONAL.into_iter().filter(|name| found.physical().has_extension(name)).collect();
        let kernels = CUDA_KERNEL_EXTENSIONS.iter().all(|name| found.physical().has_extension(name));
        let uuid = found.uuid();
        drop(found);
        let device = open(DeviceSelector::Uuid(uuid), &extensions, kernels)?;
        Ok(Self { compute: Compute::new(&device, options.backend)?, device, extensions })
    }

    /// Returns `true` if an optional device extension is enabled.
    pub(crate) fn has(&self, extension: &CStr) -> bool {
        self.extensions.contains(&extension)
    }

    /// Returns the queue of a kind, or skips the case.
    pub(crate) fn queue(&self, kind: QueueKind) -> Result<&Queue> {
        match self.device.queue_of(kind) {
            Some(queue) => Ok(queue),
            None => Skip::because(format!("{} has no {kind} queue of its own", self.device.name())),
        }
    }

    /// Returns the CUDA side, or skips the case.
    pub(crate) fn cuda(&self) -> Result<&CudaCompute> {
        self.compute.cuda().ok_or_else(|| Skip("needs CUDA".to_owned()).into())
    }

    /// Returns `true` if the compute side is CUDA.
    pub(crate) fn is_cuda(&self) -> bool {
        self.compute.cuda().is_some()
    }

    /// Returns the messages of the validation layer.
    pub(crate) fn validation_messages(&self) -> Vec<String> {
        let messages = self.device.validation_messages();
        messages.iter().map(|message| format!("{}: {}", message.id, message.text)).collect()
    }
}
