//! A report of this machine's Vulkan capabilities, for diagnosis.
#![allow(unsafe_code)] // Vulkan queries.

use ash::vk;

use crate::buffer::check::external_features;
use crate::device::OpenInfo;
use crate::device::instance::{OwnedInstance, failed, layers};
use crate::device::physical::PhysicalDeviceInfo;
use crate::device::resident::load;
use crate::error::requirement::version;
use crate::error::{Error, Requirement, Result};
use crate::handle::handle_type::HandleType;
use crate::semaphore::SemaphoreKind;
use crate::semaphore::is_exportable;

/// Vulkan capabilities of this machine.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct VulkanReport {
    /// The loader's version, such as "1.3.239".
    pub loader_version: String,
    /// The available layers.
    pub layers: Vec<LayerReport>,
    /// Every physical device that could be queried.
    pub devices: Vec<VulkanDeviceReport>,
    /// The reasons why devices could not be listed or queried. Without any driver, the loader
    /// cannot create an instance: that error is then listed here, and `devices` is empty.
    pub failures: Vec<Error>,
}

/// A layer that a program can enable.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LayerReport {
    /// The layer's name, such as `VK_LAYER_KHRONOS_validation`.
    pub name: String,
    /// The Vulkan version that the layer was written for, such as "1.3.239".
    pub version: String,
}

/// Capabilities of one physical device.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct VulkanDeviceReport {
    /// Index in `vkEnumeratePhysicalDevices`, for
    /// [`DeviceSelector::Index`](crate::DeviceSelector::Index).
    pub index: usize,
    /// The PCI vendor, or a Khronos vendor ID.
    pub vendor_id: u32,
    /// Properties that the device reports.
    pub info: PhysicalDeviceInfo,
    /// Reasons why the device cannot be opened.
    pub missing_requirements: Vec<Requirement>,
    /// Reasons why the device cannot export.
    pub missing_for_export: Vec<Requirement>,
    /// Reasons why CUDA kernels cannot be recorded into the device's command buffers.
    pub missing_for_cuda_kernels: Vec<Requirement>,
    /// `true` if buffers can be exported from the device.
    pub exports_buffers: bool,
    /// The handle type as which buffers are exported: the first of [`HandleType::MEMORY_TYPES`]
    /// that the driver supports.
    pub buffer_handle: Option<HandleType>,
    /// `true` if timeline semaphores can be exported.
    pub exports_timelines: bool,
    /// `true` if binary semaphores can be exported.
    pub exports_binaries: bool,
}

/// Queries the loader and every device, without opening a device.
///
/// # Errors
/// [`Error::NoLoader`], or a failed query of the loader. Errors of drivers are part of the report.
pub fn report() -> Result<VulkanReport> {
    let entry = load()?;
    // SAFETY: a global query without preconditions.
    let loader = unsafe { entry.try_enumerate_instance_version() }.ok().flatten().unwrap_or(vk::API_VERSION_1_0);
    let mut report = VulkanReport {
        loader_version: full_version(loader),
        layers: layer_reports(&entry)?,
        devices: Vec::new(),
        failures: Vec::new(),
    };
    if let Err(error) = list_devices(&entry, &mut report) {
        report.failures.push(error);
    }
    Ok(report)
}

fn list_devices(entry: &ash::Entry, report: &mut VulkanReport) -> Result<()> {
    let instance = OwnedInstance::new(entry, &OpenInfo { application_name: "report", ..OpenInfo::default() })?;
    // SAFETY: the instance is alive.
    let handles = unsafe { instance.raw.enumerate_physical_devices() }.map_err(failed("vkEnumeratePhysicalDevices"))?;
    for (index, handle) in handles.into_iter().enumerate() {
        match device_report(&instance, index, handle) {
            Ok(device) => report.devices.push(device),
            Err(error) => report.failures.push(error),
        }
    }
    Ok(())
}

fn layer_reports(entry: &ash::Entry) -> Result<Vec<LayerReport>> {
    let report = |layer: &vk::LayerProperties| {
        let name = layer.layer_name_as_c_str().ok()?.to_string_lossy().into_owned();
        Some(LayerReport { name, version: full_version(layer.spec_version) })
    };
    Ok(layers(entry)?.iter().filter_map(report).collect())
}

fn full_version(packed: u32) -> String {
    format!("{}.{}", version(packed), vk::api_version_patch(packed))
}

fn device_report(instance: &OwnedInstance, index: usize, handle: vk::PhysicalDevice) -> Result<VulkanDeviceReport> {
    let (instance, api_version) = (&instance.raw, instance.api_version);
    // SAFETY: VUID-vkGetPhysicalDeviceProperties-physicalDevice-parameter: the handle was just
    // enumerated from an instance that is alive.
    let vendor_id = unsafe { instance.get_physical_device_properties(handle) }.vendor_id;
    let info = PhysicalDeviceInfo::query(instance, handle, api_version)?;
    let gaps = info.gaps();
    let native = HandleType::NATIVE;
    let usage = vk::BufferUsageFlags::VERTEX_BUFFER | vk::BufferUsageFlags::STORAGE_BUFFER;
    let exports = |handle_type: &HandleType| {
        external_features(instance, handle, usage, *handle_type).contains(vk::ExternalMemoryFeatureFlags::EXPORTABLE)
    };
    let buffer_handle = HandleType::MEMORY_TYPES.iter().copied().find(exports);
    Ok(VulkanDeviceReport {
        index,
        vendor_id,
        exports_buffers: buffer_handle.is_some(),
        buffer_handle,
        exports_timelines: is_exportable(instance, handle, SemaphoreKind::Timeline, native),
        exports_binaries: is_exportable(instance, handle, SemaphoreKind::Binary, native),
        missing_requirements: gaps.base,
        missing_for_export: gaps.export,
        missing_for_cuda_kernels: info.kernel_gaps(),
        info,
    })
}
