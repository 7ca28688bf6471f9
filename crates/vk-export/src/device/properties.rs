//! Properties and features of a physical device, queried with chains of extension structures.
#![allow(unsafe_code)] // Vulkan calls.

use std::ffi::CStr;

use ash::vk;
use uuid::Uuid;

/// Properties of a physical device.
pub(super) struct Properties {
    pub(super) driver: String,
    pub(super) uuid: Uuid,
    pub(super) luid: Option<[u8; vk::LUID_SIZE]>,
    pub(super) node_mask: Option<u32>,
    pub(super) limits: vk::PhysicalDeviceLimits,
    pub(super) max_allocation_size: u64,
    /// `None` if the device does not report it.
    pub(super) max_buffer_size: Option<u64>,
}

impl Properties {
    /// Queries the device; `has` returns whether it has an extension.
    ///
    /// # Safety
    /// `handle` belongs to `instance`, which is alive; `version` is usable with both.
    pub(super) unsafe fn query(
        instance: &ash::Instance,
        handle: vk::PhysicalDevice,
        version: u32,
        has: impl Fn(&CStr) -> bool,
    ) -> Self {
        let mut id = vk::PhysicalDeviceIDProperties::default();
        let mut driver = vk::PhysicalDeviceDriverProperties::default();
        let mut maintenance3 = vk::PhysicalDeviceMaintenance3Properties::default();
        let mut maintenance4 = vk::PhysicalDeviceMaintenance4Properties::default();
        let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut id).push_next(&mut maintenance3);
        if version >= vk::API_VERSION_1_2 {
            properties = properties.push_next(&mut driver);
        }
        let knows_buffer_limit = has_maintenance4(version, &has);
        if knows_buffer_limit {
            properties = properties.push_next(&mut maintenance4);
        }
        // SAFETY: VUID-vkGetPhysicalDeviceProperties2-physicalDevice-parameter: by this function's
        // contract; every structure of the chain is core in `version` or belongs to an extension
        // that the device has.
        unsafe { instance.get_physical_device_properties2(handle, &mut properties) };
        let limits = properties.properties.limits;
        Self {
            driver: format!("{} {}", text(&driver.driver_name), text(&driver.driver_info)).trim().to_owned(),
            uuid: Uuid::from_bytes(id.device_uuid),
            luid: (id.device_luid_valid != 0).then_some(id.device_luid),
            node_mask: (id.device_luid_valid != 0).then_some(id.device_node_mask),
            limits,
            max_allocation_size: maintenance3.max_memory_allocation_size,
            max_buffer_size: knows_buffer_limit.then_some(maintenance4.max_buffer_size),
        }
    }
}

/// Returns `true` if `VkPhysicalDeviceMaintenance4Properties` may be queried. `version` is usable
/// with instance and device; `has` returns whether the device has an extension.
fn has_maintenance4(version: u32, has: impl Fn(&CStr) -> bool) -> bool {
    version >= vk::API_VERSION_1_3 || has(ash::khr::maintenance4::NAME)
}

/// Features of a physical device.
pub(super) struct Features {
    pub(super) core: vk::PhysicalDeviceFeatures,
    pub(super) timeline_semaphore: bool,
    pub(super) synchronization2: bool,
    pub(super) dynamic_rendering: bool,
    pub(super) buffer_device_address: bool,
}

impl Features {
    /// Queries the device; `has` returns whether it has an extension.
    ///
    /// # Safety
    /// The requirements of [`Properties::query`].
    pub(super) unsafe fn query(
        instance: &ash::Instance,
        handle: vk::PhysicalDevice,
        version: u32,
        has: impl Fn(&CStr) -> bool,
    ) -> Self {
        let mut timeline = vk::PhysicalDeviceTimelineSemaphoreFeatures::default();
        let mut synchronization2 = vk::PhysicalDeviceSynchronization2Features::default();
        let mut addresses = vk::PhysicalDeviceBufferDeviceAddressFeatures::default();
        let mut rendering = vk::PhysicalDeviceDynamicRenderingFeatures::default();
        let mut features = vk::PhysicalDeviceFeatures2::default();
        if version >= vk::API_VERSION_1_2 {
            features = features.push_next(&mut timeline).push_next(&mut addresses);
        }
        if version >= vk::API_VERSION_1_3 || has(ash::khr::synchronization2::NAME) {
            features = features.push_next(&mut synchronization2);
        }
        if version >= vk::API_VERSION_1_3 || has(ash::khr::dynamic_rendering::NAME) {
            features = features.push_next(&mut rendering);
        }
        // SAFETY: VUID-vkGetPhysicalDeviceFeatures2-physicalDevice-parameter: by this function's
        // contract; every structure of the chain is core in `version` or belongs to an extension
        // that the device has.
        unsafe { instance.get_physical_device_features2(handle, &mut features) };
        let core = features.features;
        Self {
            core,
            timeline_semaphore: timeline.timeline_semaphore != 0,
            synchronization2: synchronization2.synchronization2 != 0,
            dynamic_rendering: rendering.dynamic_rendering != 0,
            buffer_device_address: addresses.buffer_device_address != 0,
        }
    }
}

/// Converts a null-terminated character array from a driver to a string.
pub(super) fn text(raw: &[std::ffi::c_char]) -> String {
    // `c_char` is `i8` or `u8` depending on the platform; the cast keeps the bits of either.
    let bytes: Vec<u8> = raw.iter().take_while(|c| **c != 0).map(|c| *c as u8).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A device of version 1.3 in an instance of version 1.2 has the structure only with the
    /// extension.
    #[test]
    fn maintenance4_needs_its_version_or_its_extension() {
        let (with, without) = (|name: &CStr| name == c"VK_KHR_maintenance4", |_: &CStr| false);
        assert!(!has_maintenance4(vk::API_VERSION_1_2, without));
        assert!(has_maintenance4(vk::API_VERSION_1_2, with));
        assert!(has_maintenance4(vk::API_VERSION_1_3, without));
    }
}
