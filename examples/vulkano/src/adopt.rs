//! A vulkano device, and its adoption by the bridge.

use std::error::Error;
use std::sync::Arc;

use bridge::ash::vk;
use bridge::{AdoptInfo, DeviceRequirements, ExportDevice, QueueLock, RawHandles, requirements_for_raw};
use vulkano::device::physical::PhysicalDevice;
use vulkano::device::{Device, DeviceCreateInfo, DeviceExtensions, DeviceFeatures, Queue, QueueCreateInfo};
use vulkano::instance::{Instance, InstanceCreateInfo};
use vulkano::{Handle as _, Version, VulkanLibrary, VulkanObject as _};

use crate::validation::Validation;

/// The lock of vulkano's queue, which the bridge holds while it submits.
struct QueueOfVulkano(Arc<Queue>);

impl QueueLock for QueueOfVulkano {
    fn with(&self, _: vk::Queue, f: &mut dyn FnMut()) {
        self.0.with(|_locked| f());
    }
}

/// The objects of an engine on vulkano, and the requirements that its device was created with.
pub struct Engine {
    pub device: Arc<Device>,
    pub queue: Arc<Queue>,
    needed: DeviceRequirements,
}

impl Engine {
    /// Creates a device that meets the bridge's requirements. An engine adds its own extensions and
    /// features.
    pub fn new(validation: Option<&Validation>) -> Result<Self, Box<dyn Error>> {
        let library = VulkanLibrary::new()?;
        let mut create = InstanceCreateInfo { max_api_version: Some(Version::V1_3), ..Default::default() };
        if let Some(validation) = validation {
            validation.enable(&library, &mut create)?;
        }
        let instance = Instance::new(library, create)?;
        let physical = instance.enumerate_physical_devices()?.next().ok_or("there is no Vulkan device")?;
        let (loader, handle) = (get_instance_proc_addr(&instance), physical.handle().as_raw());
        let made = (instance.handle().as_raw(), version(&instance));
        // SAFETY: the function belongs to the instance, which was created for 1.3 and has this
        // device.
        let needed = unsafe { requirements_for_raw(loader, made, handle) }?;
        needed.check_met()?; // one error with everything that is missing
        let (device, mut queues) = Device::new(physical.clone(), create_info(&physical, &needed)?)?;
        let queue = queues.next().ok_or("there is no queue")?;
        Ok(Self { device, queue, needed })
    }

    /// Returns the name of the GPU.
    pub fn name(&self) -> &str {
        &self.device.physical_device().properties().device_name
    }

    /// Lends the device to the bridge, which keeps it alive.
    pub fn adopt(&self) -> Result<ExportDevice, Box<dyn Error>> {
        let (device, instance) = (&self.device, self.device.instance());
        let handles = RawHandles {
            instance: instance.handle().as_raw(),
            api_version: version(instance),
            physical_device: device.physical_device().handle().as_raw(),
            device: device.handle().as_raw(),
            queue: self.queue.handle().as_raw(),
            queue_family: self.queue.queue_family_index(),
        };
        // SAFETY: the handles belong together; `keep_alive` makes them outlive the bridge's
        // objects.
        let mut info = unsafe { AdoptInfo::from_raw(get_instance_proc_addr(instance), &handles) }?;
        info.device_extensions = &self.needed.extensions;
        info.features = self.needed.features;
        // To adopt it again, or another device under the same mutex, pass a clone of this `Arc`.
        info.queue_lock = Some(Arc::new(QueueOfVulkano(self.queue.clone())));
        info.keep_alive = Some(Box::new((device.clone(), self.queue.clone())));
        // SAFETY: as above, and `create_info` enabled everything that is named, or failed.
        Ok(unsafe { ExportDevice::adopt(info) }?)
    }
}

/// Returns the parameters of the device.
fn create_info(physical: &PhysicalDevice, needed: &DeviceRequirements) -> Result<DeviceCreateInfo, Box<dyn Error>> {
    let names = needed.extensions.iter().map(|name| name.to_str()).collect::<Result<Vec<_>, _>>()?;
    let enabled_extensions = extensions(&names)?;
    let families = physical.queue_family_properties();
    let graphics = families
        .iter()
        .position(|family| family.queue_flags.contains(vulkano::device::QueueFlags::GRAPHICS))
        .ok_or("there is no graphics queue")?;
    Ok(DeviceCreateInfo {
        queue_create_infos: vec![QueueCreateInfo {
            queue_family_index: u32::try_from(graphics)?,
            ..Default::default()
        }],
        enabled_extensions,
        enabled_features: DeviceFeatures { timeline_semaphore: true, synchronization2: true, ..Default::default() },
        ..Default::default()
    })
}

/// Returns the extensions with these names. `from_iter` of vulkano leaves out names that it does not
/// know: they would not be enabled, but declared to the bridge as enabled.
///
/// # Errors
/// The names that vulkano does not know, all at once.
fn extensions(names: &[&str]) -> Result<DeviceExtensions, Box<dyn Error>> {
    let unknown: Vec<_> =
        names.iter().copied().filter(|&name| DeviceExtensions::from_iter([name]).is_empty()).collect();
    if !unknown.is_empty() {
        return Err(format!("this version of vulkano cannot enable {}", unknown.join(", ")).into());
    }
    Ok(names.iter().copied().collect())
}

/// Returns the instance's `apiVersion`, packed.
fn version(instance: &Instance) -> u32 {
    let Version { major, minor, patch } = instance.max_api_version();
    vk::make_api_version(0, major, minor, patch)
}

/// Returns vulkano's `vkGetInstanceProcAddr`, through which the bridge loads every function.
fn get_instance_proc_addr(instance: &Instance) -> *const std::ffi::c_void {
    let name = c"vkGetInstanceProcAddr".as_ptr();
    // SAFETY: VUID-vkGetInstanceProcAddr-instance-parameter: a live instance, and a string.
    let function = unsafe { instance.library().get_instance_proc_addr(instance.handle(), name) };
    function.map_or(std::ptr::null(), |function| function as *const std::ffi::c_void)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_that_vulkano_does_not_know_are_an_error() {
        let known = DeviceExtensions { khr_external_memory_fd: true, ..Default::default() };
        assert_eq!(extensions(&["VK_KHR_external_memory_fd"]).unwrap(), known);
        let error = extensions(&["VK_NEW_first", "VK_KHR_external_memory_fd", "VK_NEW_second"]).unwrap_err();
        assert!(error.to_string().ends_with("cannot enable VK_NEW_first, VK_NEW_second"), "{error}");
    }
}
