//! Requirements for a Vulkan device, as lists that an engine can use in its own device creation.

use std::ffi::CStr;

use ash::{khr, nvx, vk};

use crate::error::Requirement;

/// The oldest supported Vulkan version: 1.2, with `timelineSemaphore` and `synchronization2`
/// enabled.
pub const MINIMUM_API_VERSION: u32 = vk::API_VERSION_1_2;

/// The device extensions that exports need on this operating system.
pub const EXPORT_EXTENSIONS: &[&CStr] = &[MEMORY_EXTENSION, SEMAPHORE_EXTENSION];

/// The device extensions that [`KernelModule`](crate::KernelModule) needs in addition to the
/// feature `bufferDeviceAddress`: an engine enables them on its device if it supports them, and
/// lists them in [`AdoptInfo::device_extensions`](crate::AdoptInfo).
///
/// Both are experimental (`NVX`). NVIDIA's drivers for Linux and Windows have had them since 2020.
pub const CUDA_KERNEL_EXTENSIONS: &[&CStr] = &[nvx::binary_import::NAME, nvx::image_view_handle::NAME];

/// The device extension that exporting memory needs.
pub(crate) const MEMORY_EXTENSION: &CStr =
    if cfg!(windows) { khr::external_memory_win32::NAME } else { khr::external_memory_fd::NAME };

/// The device extension that exporting semaphores needs.
pub(crate) const SEMAPHORE_EXTENSION: &CStr =
    if cfg!(windows) { khr::external_semaphore_win32::NAME } else { khr::external_semaphore_fd::NAME };

/// Returns the extensions that an engine enables to share with CUDA, on a device of `api_version`
/// (the lower of the instance's and the device's).
///
/// A device may lack some of them, in particular one without CUDA, and creating it with an
/// extension that it lacks fails (`ERROR_EXTENSION_NOT_PRESENT`).
/// [`requirements_for`](crate::requirements_for) leaves those out; frames can then be computed on
/// the CPU. The features to enable with the extensions are [`RequiredFeatures`].
pub fn required_device_extensions(api_version: u32) -> impl Iterator<Item = &'static CStr> {
    EXPORT_EXTENSIONS.iter().copied().chain(base_extensions(api_version).iter().copied())
}

/// Returns the extensions that every device needs, with or without exports.
pub(crate) fn base_extensions(api_version: u32) -> &'static [&'static CStr] {
    if api_version < vk::API_VERSION_1_3 { &[khr::synchronization2::NAME] } else { &[] }
}

/// The features that an engine must enable, ready to be pushed onto its `VkDeviceCreateInfo`.
///
/// ```
/// # use vk_export::ash::vk;
/// let mut features = vk_export::RequiredFeatures::default();
/// let info = vk::DeviceCreateInfo::default()
///     .push_next(&mut features.timeline_semaphore)
///     .push_next(&mut features.synchronization2);
/// # assert!(!info.p_next.is_null());
/// ```
///
/// An engine that already passes `VkPhysicalDeviceVulkan12Features` or `…13Features` sets the
/// fields of the same names there instead.
#[derive(Debug, Clone, Copy)]
pub struct RequiredFeatures {
    /// `timelineSemaphore`
    pub timeline_semaphore: vk::PhysicalDeviceTimelineSemaphoreFeatures<'static>,
    /// `synchronization2`
    pub synchronization2: vk::PhysicalDeviceSynchronization2Features<'static>,
}

impl Default for RequiredFeatures {
    fn default() -> Self {
        Self {
            timeline_semaphore: vk::PhysicalDeviceTimelineSemaphoreFeatures::default().timeline_semaphore(true),
            synchronization2: vk::PhysicalDeviceSynchronization2Features::default().synchronization2(true),
        }
    }
}

/// Returns the disabled or missing requirements for CUDA kernels in command buffers.
pub(crate) fn kernel_gaps(
    addresses: bool,
    is_enabled: impl Fn(&CStr) -> bool,
    on_device: impl Fn(&CStr) -> bool,
) -> Vec<Requirement> {
    let lacking = CUDA_KERNEL_EXTENSIONS.iter().filter(|name| !is_enabled(name));
    let gap = |name: &&CStr| Requirement::CudaKernelExtension {
        name: name.to_string_lossy().into_owned(),
        on_device: on_device(name),
    };
    let mut gaps: Vec<_> = lacking.map(gap).collect();
    if !addresses {
        gaps.push(Requirement::Feature("bufferDeviceAddress"));
    }
    gaps
}

/// The base and export requirements that are not met.
pub(crate) struct Gaps {
    /// Requirements for an [`ExportDevice`](crate::ExportDevice).
    pub(crate) base: Vec<Requirement>,
    /// Requirements for exports from the device.
    pub(crate) export: Vec<Requirement>,
}

impl Gaps {
    pub(crate) fn find(
        api_version: u32,
        timeline: bool,
        synchronization2: bool,
        has_extension: impl Fn(&CStr) -> bool,
    ) -> Self {
        let mut base = Vec::new();
        if api_version < MINIMUM_API_VERSION {
            base.push(Requirement::ApiVersion { needed: MINIMUM_API_VERSION, found: api_version });
        }
        let lacking = |names: &[&CStr]| -> Vec<Requirement> {
            names.iter().filter(|name| !has_extension(name)).map(|name| Requirement::device_extension(name)).collect()
        };
        base.extend(lacking(base_extensions(api_version)));
        if !timeline {
            base.push(Requirement::Feature("timelineSemaphore"));
        }
        if !synchronization2 {
            base.push(Requirement::Feature("synchronization2"));
        }
        Self { base, export: lacking(EXPORT_EXTENSIONS) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_unmet_requirements_are_reported_together() {
        let gaps = Gaps::find(vk::API_VERSION_1_1, false, false, |_| false);
        assert_eq!(gaps.base.len(), 4, "{:?}", gaps.base);
        assert_eq!(gaps.export.len(), EXPORT_EXTENSIONS.len());
        assert_eq!(gaps.base[0].to_string(), "Vulkan 1.2 (it has 1.1)");
    }

    #[test]
    fn kernels_need_both_extensions_and_addresses() {
        let gaps = kernel_gaps(false, |name| name == nvx::binary_import::NAME, |_| true);
        let text: Vec<String> = gaps.iter().map(ToString::to_string).collect();
        assert!(text[0].starts_with("device extension VK_NVX_image_view_handle (it is off"), "{text:?}");
        assert_eq!(text[1..], ["feature bufferDeviceAddress"]);
        let gaps = kernel_gaps(true, |_| false, |_| false);
        assert_eq!(gaps.len(), 2);
        assert!(gaps.iter().all(|gap| gap.to_string().contains("CUDA stream")), "{gaps:?}");
        assert!(kernel_gaps(true, |_| true, |_| true).is_empty());
    }

    #[test]
    fn synchronization2_is_core_from_1_3() {
        assert!(Gaps::find(vk::API_VERSION_1_3, true, true, |_| false).base.is_empty());
        assert_eq!(Gaps::find(vk::API_VERSION_1_2, true, true, |_| false).base.len(), 1);
        assert_eq!(required_device_extensions(vk::API_VERSION_1_2).count(), EXPORT_EXTENSIONS.len() + 1);
    }
}
