use vk_export::ash::{self, vk};
use vk_export::{RequiredFeatures, requirements_for};

/// Creates an engine's device with everything that the bridge needs enabled.
unsafe fn make_device(
    instance: &ash::Instance,
    physical: vk::PhysicalDevice,
) -> Result<ash::Device, Box<dyn std::error::Error>> {
    let version = vk::API_VERSION_1_3;
    // SAFETY: the caller's own instance, created with this version.
    let needed = unsafe { requirements_for(instance, version, physical) }?;
    // One error that lists everything that is missing.
    needed.check_met()?;
    for optional in &needed.optional {
        println!("{optional}");
    }
    let names: Vec<_> = needed.extensions.iter().map(|e| e.as_ptr()).collect();
    let mut features = RequiredFeatures::default();
    let queue = vk::DeviceQueueCreateInfo::default().queue_priorities(&[1.0]);
    let queues = [queue];
    let info = vk::DeviceCreateInfo::default()
        .queue_create_infos(&queues)
        .enabled_extension_names(&names)
        .push_next(&mut features.timeline_semaphore)
        .push_next(&mut features.synchronization2);
    // SAFETY: `check_met` has checked that the device supports all of this.
    Ok(unsafe { instance.create_device(physical, &info, None) }?)
}
