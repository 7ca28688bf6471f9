//! Libraries that an adopted device leaves loaded. A single test, because no instance may exist
//! before.
#![cfg(target_os = "linux")]
#![allow(unsafe_code, clippy::unwrap_used)] // The engine.

use bridge::ash::{self, vk};
use bridge::vk_export::{AdoptInfo, ExportDevice};
use bridge_tests::vulkan_libraries;

const VERSION: u32 = vk::API_VERSION_1_3;

/// Drivers stay loaded after an adopted device, because engines that are restarted load their
/// driver repeatedly, and NVIDIA's driver can only be loaded a limited number of times.
#[test]
fn drivers_stay_loaded_after_an_adopted_device() {
    // SAFETY: the system's loader.
    let entry = unsafe { ash::Entry::load() }.unwrap();
    let application = vk::ApplicationInfo::default().api_version(VERSION);
    let info = vk::InstanceCreateInfo::default().application_info(&application);
    // SAFETY: a plain instance.
    let instance = unsafe { entry.create_instance(&info, None) }.unwrap();
    // SAFETY: the instance lives.
    let physical = unsafe { instance.enumerate_physical_devices() }.unwrap()[0];
    let queues = [vk::DeviceQueueCreateInfo::default().queue_family_index(0).queue_priorities(&[1.0])];
    let mut timelines = vk::PhysicalDeviceTimelineSemaphoreFeatures::default().timeline_semaphore(true);
    let mut barriers = vk::PhysicalDeviceSynchronization2Features::default().synchronization2(true);
    let info =
        vk::DeviceCreateInfo::default().queue_create_infos(&queues).push_next(&mut timelines).push_next(&mut barriers);
    // SAFETY: every device of Vulkan 1.3 has a queue and both features.
    let device = unsafe { instance.create_device(physical, &info, None) }.unwrap();
    // SAFETY: the queue that the device was created with.
    let queue = unsafe { device.get_device_queue(0, 0) };

    let mut info = AdoptInfo::new((entry.clone(), instance.clone(), VERSION), physical, device.clone(), (queue, 0));
    info.features.timeline_semaphore = true;
    info.features.synchronization2 = true;
    // SAFETY: the objects created above, which outlive the adopted device.
    drop(unsafe { ExportDevice::adopt(info) }.unwrap());

    let loaded = vulkan_libraries();
    assert!(loaded.len() >= 2, "the loader and a driver: {loaded:?}");
    // SAFETY: nothing created from it is left.
    unsafe { device.destroy_device(None) };
    // SAFETY: as above.
    unsafe { instance.destroy_instance(None) };
    drop(entry);
    let gone: Vec<_> = loaded.difference(&vulkan_libraries()).cloned().collect();
    assert!(gone.is_empty(), "unloaded with the engine's instance: {gone:?}");
}
