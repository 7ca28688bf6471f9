//! Information about Vulkan and its devices.

use bridge::ash::vk;
use bridge::vk_export;
use serde::Serialize;

use super::drivers::{self, DriverManifest};

/// Information about Vulkan and its devices.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Vulkan {
    /// The loader's version; `None` without a loader.
    pub loader: Option<String>,
    /// The layers that a program can enable.
    pub layers: Vec<Layer>,
    /// The drivers that the loader is configured to use.
    pub drivers: Vec<DriverManifest>,
    /// The physical devices.
    pub devices: Vec<VulkanDevice>,
    /// Errors of the queries.
    pub problems: Vec<String>,
    /// The Vulkan calls that failed during the queries.
    pub failed_calls: Vec<FailedCall>,
    /// Libraries that the Vulkan part of NVIDIA's driver loads itself, and that are missing.
    pub missing_helpers: Vec<String>,
}

/// A Vulkan call that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailedCall {
    /// The name.
    pub call: &'static str,
    /// The error code, as named by Vulkan.
    pub code: String,
}

/// A layer.
#[derive(Debug, Clone, Serialize)]
pub struct Layer {
    /// The name.
    pub name: String,
    /// The Vulkan version that it was written for.
    pub version: String,
}

/// A physical device.
#[derive(Debug, Clone, Default, Serialize)]
pub struct VulkanDevice {
    /// The index in Vulkan's list.
    pub index: usize,
    /// The name.
    pub name: String,
    /// The UUID, which identifies the matching CUDA device.
    pub uuid: String,
    /// The identity of its adapter on Windows.
    pub adapter: Option<String>,
    /// The kind of device: discrete GPU, integrated GPU, software, …
    pub kind: &'static str,
    /// The vendor.
    pub vendor: String,
    /// The Vulkan version that it supports.
    pub api_version: String,
    /// The driver's name and version, as reported by the driver.
    pub driver: String,
    /// Missing requirements for any use.
    pub missing_requirements: Vec<String>,
    /// Missing requirements for exporting.
    pub missing_for_export: Vec<String>,
    /// `true` if it can export buffers.
    pub exports_buffers: bool,
    /// The handle type of exported buffers.
    pub buffer_handle: Option<&'static str>,
    /// `true` if it can export timeline semaphores.
    pub exports_timelines: bool,
    /// `true` if it can export binary semaphores.
    pub exports_binaries: bool,
    /// `true` if CUDA kernels can be recorded into its command buffers.
    pub cuda_kernels: bool,
    /// Maximum size of an allocation, in bytes.
    pub max_allocation_size: u64,
}

impl Vulkan {
    /// Queries the loader, the drivers and the devices.
    pub fn query(nvidia_module: Option<&str>) -> Self {
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
        found.drivers = drivers::find();
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
            missing_requirements: texts(&report.missing_requirements),
            missing_for_export: texts(&report.missing_for_export),
            exports_buffers: report.exports_buffers,
            buffer_handle: report.buffer_handle.map(vk_export::HandleType::as_str),
            exports_timelines: report.exports_timelines,
            exports_binaries: report.exports_binaries,
            cuda_kernels: report.missing_for_cuda_kernels.is_empty(),
            max_allocation_size: info.max_allocation_size,
        }
    }

    /// Returns `true` if NVIDIA's own driver runs the device; Mesa and Microsoft have drivers for
    /// the same GPUs.
    pub fn is_nvidias_own(&self) -> bool {
        self.vendor == NVIDIA && self.driver.starts_with("NVIDIA")
    }

    /// Returns `true` if its UUID is all zeros.
    pub fn is_anonymous(&self) -> bool {
        is_zero(&self.uuid)
    }

    /// Returns `true` if it is a software device, which runs on the CPU.
    pub fn is_software(&self) -> bool {
        self.kind == SOFTWARE
    }
}

pub(super) const NVIDIA: &str = "NVIDIA";
pub(super) const SOFTWARE: &str = "software";

/// Returns `true` if a UUID is not empty and all its digits are zeros.
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

/// Returns the message of an error. Explains the loader's misleading code for "no driver".
fn in_words(error: &vk_export::Error) -> String {
    match error {
        vk_export::Error::Vulkan { result: vk::Result::ERROR_INCOMPATIBLE_DRIVER, .. } => {
            format!("the loader has no driver that loads ({error})")
        }
        _ => error.to_string(),
    }
}

/// Returns the name of a PCI vendor, or of a vendor with a number from Khronos.
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
