//! An engine's Vulkan instance, device and queue, created without the bridge.
#![allow(unsafe_code)] // Plain Vulkan.

use std::collections::BTreeSet;
use std::ffi::{CStr, c_void};

use bridge::ash::{self, ext, khr, vk};
use bridge::vk_export::{AdoptInfo, RequiredFeatures, required_device_extensions};

use crate::layer::Layer;
use crate::{Rig, queues};

/// Returns the function to use for a name, given the real function.
pub type Hook = fn(&CStr, *const c_void) -> *const c_void;

/// A small engine whose device was created with the lists that the bridge publishes.
pub struct Engine {
    entry: ash::Entry,
    instance: ash::Instance,
    physical: vk::PhysicalDevice,
    device: ash::Device,
    extensions: Vec<&'static CStr>,
    queues: u32,
    layer: Option<Layer>,
}

/// The extensions that ray tracing requires.
const RAYS: &[&CStr] =
    &[khr::acceleration_structure::NAME, khr::ray_tracing_pipeline::NAME, khr::deferred_host_operations::NAME];

const VERSION: u32 = vk::API_VERSION_1_3;

impl Engine {
    /// Creates the device; `hook` may replace functions of the device.
    ///
    /// # Panics
    /// Panics if there is no Vulkan device.
    pub fn new(hook: Option<Hook>) -> Self {
        Self::make(hook, &[])
    }

    /// Creates the device; its submissions are noted for [`take_submissions`](crate::take_submissions).
    ///
    /// # Panics
    /// Panics if there is no Vulkan device.
    pub fn with_second_queue() -> Self {
        Self::make(Some(queues::note_submissions), &[])
    }

    /// Creates a device that supports ray tracing, with its extensions and features enabled.
    ///
    /// # Errors
    /// The error lists what the best device lacks.
    ///
    /// # Panics
    /// Panics if there is no Vulkan device.
    pub fn with_rays() -> Result<Self, String> {
        let best = Rig::open_own();
        let physical = best.physical();
        let missing: Vec<_> = RAYS.iter().filter(|name| !physical.has_extension(name)).collect();
        if !missing.is_empty() || !physical.buffer_device_address {
            let addresses = physical.buffer_device_address;
            return Err(format!("{} lacks {missing:?} (bufferDeviceAddress: {addresses})", physical.name));
        }
        Ok(Self::make(None, RAYS))
    }

    /// Creates the device; `rays` is `RAYS` or empty.
    fn make(hook: Option<Hook>, rays: &'static [&'static CStr]) -> Self {
        let best = Rig::open_own().physical().clone();
        // SAFETY: the system's loader.
        let entry = unsafe { ash::Entry::load() }.unwrap();
        let application = vk::ApplicationInfo::default().api_version(VERSION);
        let validated = Layer::is_installed(&entry);
        let (layers, extensions) = ([Layer::NAME.as_ptr()], [ext::debug_utils::NAME.as_ptr()]);
        let count = usize::from(validated);
        let info = vk::InstanceCreateInfo::default()
            .application_info(&application)
            .enabled_layer_names(&layers[..count])
            .enabled_extension_names(&extensions[..count]);
        // SAFETY: a plain instance, with a layer and extensions that were found to be available.
        let instance = unsafe { entry.create_instance(&info, None) }.unwrap();
        let layer = validated.then(|| Layer::listen(&entry, &instance));
        // SAFETY: the instance is alive.
        let physical = unsafe { instance.enumerate_physical_devices() }
            .unwrap()
            .into_iter()
            .find(|physical| {
                let mut id = vk::PhysicalDeviceIDProperties::default();
                let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut id);
                // SAFETY: as above.
                unsafe { instance.get_physical_device_properties2(*physical, &mut properties) };
                id.device_uuid == *best.uuid.as_bytes()
            })
            .unwrap();
        let own = required_device_extensions(VERSION).filter(|e| best.has_extension(e));
        let extensions: Vec<_> = own.chain(rays.iter().copied()).collect();
        let names: Vec<_> = extensions.iter().map(|e| e.as_ptr()).collect();
        let mut features = RequiredFeatures::default();
        let addresses = best.buffer_device_address;
        let mut addresses = vk::PhysicalDeviceBufferDeviceAddressFeatures::default().buffer_device_address(addresses);
        // If the family has a second queue, the engine uses it as well.
        let count = best.queue_families.first().map_or(1, |family| family.queue_count.min(2));
        let priorities = [1.0; 2];
        let priorities = &priorities[..count as usize];
        let queues = [vk::DeviceQueueCreateInfo::default().queue_family_index(0).queue_priorities(priorities)];
        let info = vk::DeviceCreateInfo::default()
            .queue_create_infos(&queues)
            .enabled_extension_names(&names)
            .push_next(&mut features.timeline_semaphore)
            .push_next(&mut features.synchronization2)
            .push_next(&mut addresses);
        let mut structures = vk::PhysicalDeviceAccelerationStructureFeaturesKHR::default().acceleration_structure(true);
        let mut pipelines = vk::PhysicalDeviceRayTracingPipelineFeaturesKHR::default().ray_tracing_pipeline(true);
        // A driver with these extensions has these features (Vulkan specification, "Feature
        // Requirements").
        let info = if rays.is_empty() { info } else { info.push_next(&mut structures).push_next(&mut pipelines) };
        // SAFETY: extensions and features that the device was found to support.
        let mut device = unsafe { instance.create_device(physical, &info, None) }.unwrap();
        if let Some(hook) = hook {
            let real = |name: &CStr| {
                // SAFETY: the device is alive; the name is null-terminated.
                unsafe { (instance.fp_v1_0().get_device_proc_addr)(device.handle(), name.as_ptr()) }
                    .map_or(std::ptr::null(), |function| function as *const c_void)
            };
            // SAFETY: every function is the device's own, or a replacement with the same signature.
            device = unsafe { ash::Device::load_with(|name| hook(name, real(name)), device.handle()) };
        }
        Self { entry, instance, physical, device, extensions, queues: count, layer }
    }

    /// Returns the device's functions and handle.
    pub fn device(&self) -> &ash::Device {
        &self.device
    }

    /// Returns the second queue of the family of an engine [with one](Self::with_second_queue). If
    /// the driver has only one, it is another handle of that one, so the engine must not submit to
    /// both at the same time.
    pub fn second_queue(&self) -> vk::Queue {
        // SAFETY: one of the queues that the device was created with.
        let last = unsafe { self.device.get_device_queue(0, self.queues - 1) };
        if self.queues < 2 { queues::other(last) } else { last }
    }

    /// Returns the information for the adoption. It does not declare `bufferDeviceAddress`, which
    /// is enabled if the device supports it; the test declares it if needed.
    pub fn info(&self) -> AdoptInfo<'_> {
        // SAFETY: one of the queues that the device was created with.
        let queue = unsafe { self.device.get_device_queue(0, 0) };
        let instance = (self.entry.clone(), self.instance.clone(), VERSION);
        let mut info = AdoptInfo::new(instance, self.physical, self.device.clone(), (queue, 0));
        info.device_extensions = &self.extensions;
        if self.layer.is_some() {
            info.instance_extensions = &[ext::debug_utils::NAME];
        }
        info.features.timeline_semaphore = true;
        info.features.synchronization2 = true;
        info
    }
}

impl Engine {
    /// Fails the test if the validation layer reported anything since the last call. Dropping the
    /// engine checks this too.
    ///
    /// # Panics
    /// Panics if it did.
    pub fn assert_silent(&self) {
        let messages = self.layer.as_ref().map(Layer::take_messages).unwrap_or_default();
        let ids: BTreeSet<_> = messages.iter().map(|message| message.split(": ").next()).collect();
        assert!(messages.is_empty(), "the validation layer said {ids:?}: {messages:#?}");
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // SAFETY: everything created from the device is destroyed, or the test has already failed.
        unsafe { self.device.destroy_device(None) };
        let messages = self.layer.take().map(|layer| layer.end()).unwrap_or_default();
        // SAFETY: the device and the messenger are destroyed.
        unsafe { self.instance.destroy_instance(None) };
        if std::thread::panicking() {
            messages.iter().for_each(|message| eprintln!("the validation layer said: {message}"));
        } else {
            assert!(messages.is_empty(), "the validation layer said: {messages:#?}");
        }
    }
}
