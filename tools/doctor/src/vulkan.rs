//! Vulkan's description of itself.

use bridge::ash::vk;
use bridge::vk_export;
use serde::Serialize;

use super::drivers::{self, DriverManifest};

/// Vulkan's description of itself.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Vulkan {
    /// The loader's version; nothing without a loader.
    pub loader: Option<String>,
    /// The layers that a program can turn on.
    pub layers: Vec<Layer>,
    /// The drivers that the loader is pointed to.
    pub drivers: Vec<DriverManifest>,
    /// The physical devices.
    pub devices: Vec<VulkanDevice>,
    /// Errors while asking.
    pub problems: Vec<String>,
    /// Which calls failed while asking.
    pub failed_calls: Vec<FailedCall>,
    /// Libraries of NVIDIA's driver that its Vulkan part loads by itself, and that do not load.
    pub missing_helpers: Vec<String>,
}

/// A call of Vulkan that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailedCall {
    /// Its name.
    pub call: &'static str,
    /// The code, as Vulkan names it.
    pub code: String,
}

/// A layer.
#[derive(Debug, Clone, Serialize)]
pub struct Layer {
    /// Its name.
    pub name: String,
    /// The Vulkan that it was written for.
    pub version: String,
}

/// A physical device.
#[derive(Debug, Clone, Default, Serialize)]
pub struct VulkanDevice {
    /// Its place in Vulkan's list.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// What matches it with a CUDA device.
    pub uuid: String,
    /// What Windows knows it by.
    pub adapter: Option<String>,
    /// Discrete GPU, integrated GPU, software, …
    pub kind: &'static str,
    /// Who made it.
    pub vendor: String,
    /// The Vulkan that it speaks.
    pub api_version: String,
    /// The driver's name and version, in its own words.
    pub driver: String,
    /// What keeps it from being used at all.
    pub base_gaps: Vec<String>,
    /// Reasons why it cannot export.
    pub export_gaps: Vec<String>,
    /// Whether buffers can leave it.
    pub exports_buffers: bool,
    /// As what.
    pub buffer_handle: Option<&'static str>,
    /// Whether timeline semaphores can.
    pub exports_timelines: bool,
    /// Whether binary semaphores can.
    pub exports_binaries: bool,
    /// Whether CUDA kernels can be recorded into its command buffers.
    pub cuda_kernels: bool,
    /// Bytes in one allocation.
    pub max_allocation_size: u64,
}

impl Vulkan {
    /// Asks the loader, every driver and every device.
    pub fn look(nvidia_module: Option<&str>) -> Self {
        let mut found = Self::default();
        match vk_export::report() {
            Ok(report) => {
                found.loader = Some(report.loader_version);
                let layer = |layer: vk_export::LayerReport| Layer { name: layer.name, version: layer.version };
                found.layers = report.layers.into_iter().map(layer).collect();
                found.devices = report.devices.iter().map(VulkanDevice::new).collect();
                found.problems = report.failures.iter().map(in_words).collect();
                found.failed_calls = report.failures.iter().filter_map(FailedCall::of).collect();
            }
            Err(error) => {
                found.failed_calls.extend(FailedCall::of(&error));
                found.problems.push(error.to_string());
            }
        }
        found.missing_helpers = nvidia_module.map(drivers::missing_helpers).unwrap_or_default();
        found.drivers = drivers::look();
        found
    }
}

impl FailedCall {
    fn of(error: &vk_export::Error) -> Option<Self> {
        match error {
            vk_export::Error::Vulkan { call, result, .. } => Some(Self { call, code: format!("{result:?}") }),
            _ => None,
        }
    }
}

impl VulkanDevice {
    fn new(report: &vk_export::VulkanDeviceReport) -> Self {
        let info = &report.info;
        let version = info.api_version;
        let texts = |gaps: &[vk_export::Requirement]| gaps.iter().map(ToString::to_string).collect();
        Self {
            index: report.index,
            name: info.name.clone(),
            uuid: info.uuid.to_string(),
            adapter: bridge::AdapterId::new(info.luid, info.node_mask).map(|id| id.to_string()),
            kind: kind(info.device_type),
            vendor: vendor(report.vendor_id),
            api_version: format!(
                "{}.{}.{}",
                vk::api_version_major(version),
                vk::api_version_minor(version),
                vk::api_version_patch(version)
            ),
            driver: info.driver.clone(),
            base_gaps: texts(&report.base_gaps),
            export_gaps: texts(&report.export_gaps),
            exports_buffers: report.exports_buffers,
            buffer_handle: report.buffer_handle.map(vk_export::HandleType::as_str),
            exports_timelines: report.exports_timelines,
            exports_binaries: report.exports_binaries,
            cuda_kernels: report.cuda_kernel_gaps.is_empty(),
            max_allocation_size: info.max_allocation_size,
        }
    }

    /// Whether NVIDIA's own driver runs it; Mesa and Microsoft have drivers for the same GPUs.
    pub fn is_nvidias_own(&self) -> bool {
        self.vendor == NVIDIA && self.driver.starts_with("NVIDIA")
    }

    /// Whether its UUID tells nothing: it is all zeros.
    pub fn is_anonymous(&self) -> bool {
        is_zero(&self.uuid)
    }

    /// Whether it runs on the processor.
    pub fn is_software(&self) -> bool {
        self.kind == SOFTWARE
    }
}

pub(super) const NVIDIA: &str = "NVIDIA";
pub(super) const SOFTWARE: &str = "software";

/// Whether a UUID has digits, and zeros only.
pub(super) fn is_zero(uuid: &str) -> bool {
    uuid.contains('0') && uuid.chars().all(|digit| matches!(digit, '0' | '-'))
}

fn kind(kind: vk::PhysicalDeviceType) -> &'static str {
    match kind {
        vk::PhysicalDeviceType::DISCRETE_GPU => "discrete GPU",
        vk::PhysicalDeviceType::INTEGRATED_GPU => "integrated GPU",
        vk::PhysicalDeviceType::VIRTUAL_GPU => "virtual GPU",
        vk::PhysicalDeviceType::CPU => SOFTWARE,
        _ => "other device",
    }
}

/// The loader's code for "no driver" reads like something else.
fn in_words(error: &vk_export::Error) -> String {
    match error {
        vk_export::Error::Vulkan { result: vk::Result::ERROR_INCOMPATIBLE_DRIVER, .. } => {
            format!("the loader has no driver that loads ({error})")
        }
        _ => error.to_string(),
    }
}

/// PCI vendors, and those that Khronos has numbered.
fn vendor(id: u32) -> String {
    match id {
        0x10de => NVIDIA,
        0x1002 => "AMD",
        0x8086 => "Intel",
        0x13b5 => "Arm",
        0x5143 => "Qualcomm",
        0x106b => "Apple",
        0x1414 => "Microsoft",
        0x1ae0 => "Google",
        0x1_0005 => "Mesa",
        other => return format!("vendor {other:#x}"),
    }
    .to_owned()
}
