//! Requirements for a Vulkan device, as lists that an engine can use in its own device creation.

use std::ffi::CStr;

use ash::{khr, nvx, vk};

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

/// A requirement that a device, or an engine's setup of it, does not meet.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Requirement {
    /// A newer Vulkan version.
    #[error("Vulkan {} (it has {})", version(*needed), version(*found))]
    #[non_exhaustive]
    ApiVersion {
        /// The oldest supported version, packed as Vulkan does.
        needed: u32,
        /// The available version.
        found: u32,
    },
    /// An instance extension.
    #[error("instance extension {0}")]
    InstanceExtension(String),
    /// A device extension.
    #[error("device extension {0}")]
    DeviceExtension(String),
    /// A device extension of [`CUDA_KERNEL_EXTENSIONS`].
    #[error("device extension {name} ({})", kernel_advice(*.on_device))]
    #[non_exhaustive]
    CudaKernelExtension {
        /// The extension's name.
        name: String,
        /// `true` if the physical device has it, so that it only needs to be enabled.
        on_device: bool,
    },
    /// An extension that another extension needs.
    #[error("{kind} extension {needed} for {by} (add it to `OpenInfo::{kind}_extensions`)")]
    #[non_exhaustive]
    Dependency {
        /// "instance" or "device".
        kind: &'static str,
        /// The name of the extension that is not enabled.
        needed: String,
        /// The name of the extension that needs it.
        by: String,
    },
    /// A feature, by its name in the specification.
    #[error("feature {0}")]
    Feature(&'static str),
    /// A feature of Vulkan 1.0 that the program requested, by its name in the bindings.
    #[error("feature {0}")]
    CoreFeature(String),
    /// A function of an extension that is listed as enabled.
    #[error("function {0} (is its extension really enabled?)")]
    Function(&'static str),
    /// An instance layer.
    #[error("layer {0} (Debian, Ubuntu: `apt install vulkan-validationlayers`)")]
    Layer(String),
    /// A queue family of a kind.
    #[error("a queue family for {0}")]
    QueueFamily(&'static str),
}

impl Requirement {
    pub(crate) fn device_extension(name: &CStr) -> Self {
        Self::DeviceExtension(name.to_string_lossy().into_owned())
    }
}

/// Returns each requirement as text. Advice that applies to several of them appears only at the
/// last one.
pub(crate) fn to_texts(missing: &[Requirement]) -> Vec<String> {
    let said_later = |index: usize, on_device: bool| {
        let mut later = missing.iter().skip(index + 1);
        later.any(|one| matches!(one, Requirement::CudaKernelExtension { on_device: same, .. } if *same == on_device))
    };
    let words = |(index, one): (usize, &Requirement)| match one {
        Requirement::CudaKernelExtension { name, on_device } if said_later(index, *on_device) => {
            format!("device extension {name}")
        }
        one => one.to_string(),
    };
    missing.iter().enumerate().map(words).collect()
}

fn kernel_advice(on_device: bool) -> &'static str {
    if on_device {
        "it is off: set `OpenInfo::cuda_kernels`, or enable it on the engine's device and name it in \
         `AdoptInfo::device_extensions`, as all of `CUDA_KERNEL_EXTENSIONS`"
    } else {
        "NVIDIA's drivers alone have it; elsewhere kernels are launched on a CUDA stream"
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

pub(crate) fn version(packed: u32) -> String {
    format!("{}.{}", vk::api_version_major(packed), vk::api_version_minor(packed))
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
