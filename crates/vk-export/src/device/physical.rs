//! Properties of a physical device, queried once.
#![allow(unsafe_code)] // Vulkan queries.

use std::ffi::{CStr, CString};

use ash::vk;
use uuid::Uuid;

use crate::device::memory_types::{heap_size, memory_type};
use crate::device::properties::{Features, Properties, text};
use crate::device::queue::{QueueKind, stages_of};
use crate::device::requirements::{Gaps, kernel_gaps};
use crate::error::requirement::version;
use crate::error::{Error, Requirement, Result};

/// Properties of a physical device.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PhysicalDeviceInfo {
    /// The handle.
    pub handle: vk::PhysicalDevice,
    /// The device's name.
    pub name: String,
    /// Discrete, integrated, CPU, …
    pub device_type: vk::PhysicalDeviceType,
    /// The Vulkan version of the device, packed as Vulkan does.
    pub api_version: u32,
    /// The driver's name and version, as the driver reports them.
    pub driver: String,
    /// `VkPhysicalDeviceIDProperties::deviceUUID`, which identifies the same GPU in another API.
    pub uuid: Uuid,
    /// `VkPhysicalDeviceIDProperties::deviceLUID` if valid (Windows).
    pub luid: Option<[u8; 8]>,
    /// `VkPhysicalDeviceIDProperties::deviceNodeMask`, one bit, if the LUID is valid.
    pub node_mask: Option<u32>,
    /// The limits of Vulkan 1.0.
    pub limits: vk::PhysicalDeviceLimits,
    /// The features of Vulkan 1.0.
    pub features: vk::PhysicalDeviceFeatures,
    /// `true` if `timelineSemaphore` is supported.
    pub timeline_semaphore: bool,
    /// `true` if `synchronization2` is supported.
    pub synchronization2: bool,
    /// `true` if `dynamicRendering` is supported.
    pub dynamic_rendering: bool,
    /// `true` if `bufferDeviceAddress` is supported.
    pub buffer_device_address: bool,
    /// The largest allocation in bytes that the driver guarantees not to reject by size
    /// (`maxMemoryAllocationSize`); many drivers allow larger ones.
    pub max_allocation_size: u64,
    /// The largest buffer in bytes (`maxBufferSize`), if the device reports it.
    pub max_buffer_size: Option<u64>,
    /// The device extensions.
    pub extensions: Vec<CString>,
    /// The queue families.
    pub queue_families: Vec<vk::QueueFamilyProperties>,
    /// The memory types and heaps.
    pub memory: vk::PhysicalDeviceMemoryProperties,
    /// The version that can be used through the instance, packed.
    usable_version: u32,
}

impl PhysicalDeviceInfo {
    /// Queries `handle`, a device of `instance`, which was created with `instance_version`.
    pub(crate) fn query(instance: &ash::Instance, handle: vk::PhysicalDevice, instance_version: u32) -> Result<Self> {
        // SAFETY: `handle` was enumerated from `instance` (or is valid by the contract of `adopt`),
        // which is alive for the call; VUID-vkGetPhysicalDeviceProperties-physicalDevice-parameter.
        let basic = unsafe { instance.get_physical_device_properties(handle) };
        let name = text(&basic.device_name);
        // A device that is newer than its instance may not use newer functionality (Vulkan
        // specification, "Instances", `VkApplicationInfo::apiVersion`), including the structures to
        // query it.
        let usable_version = instance_version.min(basic.api_version);
        let failed = |call| {
            move |result| Error::Vulkan {
                call,
                result,
                object: "physical device".into(),
                device: text(&basic.device_name),
            }
        };

        // SAFETY: as above.
        let extensions = unsafe { instance.enumerate_device_extension_properties(handle) }
            .map_err(failed("vkEnumerateDeviceExtensionProperties"))?
            .iter()
            .filter_map(|e| e.extension_name_as_c_str().ok().map(CStr::to_owned))
            .collect::<Vec<_>>();
        let has = |name: &CStr| extensions.iter().any(|e| e.as_c_str() == name);

        // SAFETY: the device belongs to the instance, and the version is usable with both.
        let properties = unsafe { Properties::query(instance, handle, usable_version, has) };
        // SAFETY: as above.
        let features = unsafe { Features::query(instance, handle, usable_version, has) };
        // SAFETY: as above.
        let queue_families = unsafe { instance.get_physical_device_queue_family_properties(handle) };
        // SAFETY: as above.
        let memory = unsafe { instance.get_physical_device_memory_properties(handle) };

        Ok(Self {
            handle,
            name,
            device_type: basic.device_type,
            api_version: basic.api_version,
            driver: properties.driver,
            uuid: properties.uuid,
            luid: properties.luid,
            node_mask: properties.node_mask,
            limits: properties.limits,
            features: features.core,
            timeline_semaphore: features.timeline_semaphore,
            synchronization2: features.synchronization2,
            dynamic_rendering: features.dynamic_rendering,
            buffer_device_address: features.buffer_device_address,
            max_allocation_size: properties.max_allocation_size,
            max_buffer_size: properties.max_buffer_size,
            extensions,
            queue_families,
            memory,
            usable_version,
        })
    }

    /// Returns a device without any properties, for tests to add to.
    #[cfg(test)]
    pub(crate) fn nameless() -> Self {
        Self {
            handle: vk::PhysicalDevice::null(),
            name: String::new(),
            device_type: vk::PhysicalDeviceType::OTHER,
            api_version: vk::API_VERSION_1_3,
            driver: String::new(),
            uuid: Uuid::nil(),
            luid: None,
            node_mask: None,
            limits: vk::PhysicalDeviceLimits::default(),
            features: vk::PhysicalDeviceFeatures::default(),
            timeline_semaphore: false,
            synchronization2: false,
            dynamic_rendering: false,
            buffer_device_address: false,
            max_allocation_size: 0,
            max_buffer_size: None,
            extensions: Vec::new(),
            queue_families: Vec::new(),
            memory: vk::PhysicalDeviceMemoryProperties::default(),
            usable_version: vk::API_VERSION_1_3,
        }
    }

    /// Returns `true` if the device has an extension.
    pub fn has_extension(&self, name: &CStr) -> bool {
        self.extensions.iter().any(|e| e.as_c_str() == name)
    }

    /// Returns the reasons against the device, and those against exporting from it.
    pub(crate) fn gaps(&self) -> Gaps {
        Gaps::find(self.usable_version, self.timeline_semaphore, self.synchronization2, |name| self.has_extension(name))
    }

    /// Returns the reasons against recording CUDA kernels into the device's command buffers.
    pub(crate) fn kernel_gaps(&self) -> Vec<Requirement> {
        let has = |name: &CStr| self.has_extension(name);
        kernel_gaps(self.buffer_device_address, has, has)
    }

    /// Returns the first queue family of a kind.
    pub fn queue_family(&self, kind: QueueKind) -> Option<u32> {
        let index = self.queue_families.iter().position(|f| kind.is_family(f.queue_flags) && f.queue_count > 0)?;
        u32::try_from(index).ok()
    }

    /// Returns `true` if a queue family exists and is of a kind.
    pub(crate) fn is_family(&self, family: u32, kind: QueueKind) -> bool {
        self.family(family).is_some_and(|family| kind.is_family(family.queue_flags))
    }

    /// Returns the stages of a queue family, or `None` for all.
    pub(crate) fn stages_of(&self, family: u32) -> Option<vk::PipelineStageFlags2> {
        self.family(family).and_then(|family| stages_of(family.queue_flags))
    }

    fn family(&self, family: u32) -> Option<&vk::QueueFamilyProperties> {
        usize::try_from(family).ok().and_then(|family| self.queue_families.get(family))
    }

    /// Returns the first memory type among the bits `allowed` that has `wanted`, preferring one
    /// that also has `preferred`. Skips types that need an enabled feature, and those for transient
    /// attachments.
    pub fn memory_type(
        &self,
        allowed: u32,
        wanted: vk::MemoryPropertyFlags,
        preferred: vk::MemoryPropertyFlags,
    ) -> Option<u32> {
        memory_type(&self.memory, allowed, wanted, preferred)
    }

    /// Returns the size in bytes of a memory type's heap; `None` for a type that does not exist.
    pub fn heap_size(&self, memory_type: u32) -> Option<u64> {
        heap_size(&self.memory, memory_type)
    }

    /// Returns a description in one line, for lists and messages.
    pub fn summary(&self) -> String {
        format!(
            "{} ({:?}, Vulkan {}, {}, {})",
            self.name,
            self.device_type,
            version(self.api_version),
            self.driver,
            self.uuid
        )
    }
}
