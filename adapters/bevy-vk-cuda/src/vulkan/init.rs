//! Additions to the creation of Bevy's Vulkan device: extensions, a feature, and a second queue of
//! family 0.
#![allow(unsafe_code)] // Registers a callback that changes how the device is created.

use ash::vk;
use bevy_render::renderer::raw_vulkan_init::{AdditionalVulkanFeatures, RawVulkanInitSettings};
use bridge::{DeviceRequirements, RequiredFeatures, requirements_for};
use wgpu::hal::vulkan::{Adapter, CreateDeviceCallbackArgs, InstanceShared};

/// Marks in [`AdditionalVulkanFeatures`] that the device has the extensions and features that
/// sharing needs.
pub(crate) struct Shareable;

/// Marks in [`AdditionalVulkanFeatures`] that the device has a queue for this crate alone,
/// [`SECOND_QUEUE`] of family 0.
pub(crate) struct SecondQueue;

/// The index of that queue.
pub(crate) const SECOND_QUEUE: u32 = 1;

/// The family from which wgpu 29 takes its queue.
pub(crate) const FAMILY: u32 = 0;

/// The newest Vulkan version that wgpu 29 requests for an instance.
const WGPU_API_VERSION: u32 = vk::API_VERSION_1_3;

/// Adds the callback to the settings that Bevy's device is created with.
pub(crate) fn register(settings: &mut RawVulkanInitSettings) {
    // SAFETY: `add` removes nothing, and only adds what the physical device supports.
    unsafe { settings.add_create_device_callback(add) };
}

fn add(args: &mut CreateDeviceCallbackArgs<'_, '_, '_>, adapter: &Adapter, told: &mut AdditionalVulkanFeatures) {
    let needed = match needed(adapter) {
        Ok(needed) => needed,
        Err(error) => return log::warn!("Bevy's device is created without what sharing with CUDA needs: {error}"),
    };
    for name in &needed.extensions {
        // wgpu enables some of them itself.
        if !args.extensions.contains(name) {
            args.extensions.push(name);
        }
    }
    // The chain must live until the device is created, which happens after this function returns.
    // This leaks 32 bytes for each device of the process.
    let synchronization2 = Box::leak(Box::new(RequiredFeatures::default().synchronization2));
    *args.create_info = std::mem::take(args.create_info).push_next(synchronization2);
    told.insert::<Shareable>();
    // If another plugin has requested more queues, the request is left unchanged.
    let ours = args.queue_create_infos.iter_mut().find(|info| info.queue_family_index == FAMILY);
    let available = queues(adapter);
    if let Some(info) = ours.filter(|info| info.queue_count == SECOND_QUEUE && available > SECOND_QUEUE) {
        *info = info.queue_priorities(&[1.0, 1.0]);
        told.insert::<SecondQueue>();
    }
}

/// Returns the number of queues of the family.
fn queues(adapter: &Adapter) -> u32 {
    let instance = adapter.shared_instance().raw_instance();
    let physical = adapter.raw_physical_device();
    // SAFETY: the physical device is the adapter's own, from this instance.
    let families = unsafe { instance.get_physical_device_queue_family_properties(physical) };
    families.first().map_or(0, |family| family.queue_count)
}

/// Returns the requirements of the bridge on the adapter's device.
///
/// # Errors
/// Mandatory requirements that the device does not meet.
pub(crate) fn needed(adapter: &Adapter) -> Result<DeviceRequirements, bridge::vk_export::Error> {
    let instance = adapter.shared_instance();
    let (raw, physical) = (instance.raw_instance(), adapter.raw_physical_device());
    // SAFETY: the physical device is the adapter's own, from this instance, which was created for
    // that version.
    let needed = unsafe { requirements_for(raw, api_version(instance), physical) }?;
    needed.check_met()?;
    Ok(needed)
}

/// Returns the version that the instance was created with.
pub(crate) fn api_version(instance: &InstanceShared) -> u32 {
    instance.instance_api_version().min(WGPU_API_VERSION)
}
