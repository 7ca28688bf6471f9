//! Configuration for a device that this crate opens.

use std::ffi::CStr;

use ash::vk;

use crate::device::select::DeviceSelector;

/// Configuration for opening a device.
#[derive(Debug, Clone)]
pub struct OpenInfo<'a> {
    /// The application's name, for the driver. Default: empty.
    pub application_name: &'a str,
    /// Physical device to open. Default: the best.
    pub device: DeviceSelector,
    /// Whether to enable the validation layer, with synchronization validation. Its messages go to
    /// the log and to [`validation_messages`](crate::ExportDevice::validation_messages). Default:
    /// off.
    pub validation: Validation,
    /// Further instance extensions, such as a surface's, including their dependencies. Default:
    /// none.
    pub instance_extensions: &'a [&'a CStr],
    /// Further device extensions, such as `VK_KHR_swapchain`, including their dependencies (for
    /// that one, `VK_KHR_surface` among the instance extensions). Default: none.
    pub device_extensions: &'a [&'a CStr],
    /// Further features of Vulkan 1.0 that the program needs; every value except 0 is `VK_TRUE`.
    /// Default: none.
    pub features: vk::PhysicalDeviceFeatures,
    /// `true` if the program needs `dynamicRendering` (Vulkan 1.3). Default: no.
    pub dynamic_rendering: bool,
    /// `true` if the program needs `bufferDeviceAddress`, for buffers with `SHADER_DEVICE_ADDRESS`.
    /// Default: no.
    pub buffer_device_address: bool,
    /// `true` if the program records CUDA kernels into command buffers. This needs
    /// [`CUDA_KERNEL_EXTENSIONS`](crate::CUDA_KERNEL_EXTENSIONS), which only NVIDIA's driver has,
    /// and `bufferDeviceAddress`, which is then enabled as well. Default: no.
    pub cuda_kernels: bool,
}

impl Default for OpenInfo<'_> {
    fn default() -> Self {
        Self {
            application_name: "",
            device: DeviceSelector::Best,
            validation: Validation::Off,
            instance_extensions: &[],
            device_extensions: &[],
            features: vk::PhysicalDeviceFeatures::default(),
            dynamic_rendering: false,
            buffer_device_address: false,
            cuda_kernels: false,
        }
    }
}

/// Whether to enable the Khronos validation layer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Validation {
    /// No layer.
    #[default]
    Off,
    /// Enables the layer if it is installed; otherwise logs a warning.
    IfPresent,
    /// Enables the layer, or returns an error.
    Required,
}
