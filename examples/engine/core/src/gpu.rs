//! The Vulkan instance and device.
#![allow(unsafe_code)] // Vulkan calls.

use std::ffi::{CStr, c_char, c_void};
use std::mem::ManuallyDrop;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use ash::{Device, Entry, Instance, ext, khr, vk};
use gpu_allocator::vulkan::{Allocator, AllocatorCreateDesc};

use crate::queue::Queue;

/// The Vulkan version that the engine requires.
pub const VERSION: u32 = vk::API_VERSION_1_3;

const LAYER: &CStr = c"VK_LAYER_KHRONOS_validation";

/// Returns the device extensions that a plug-in requires of the selected device, which supports
/// them.
pub type ExtensionRequest<'a> = &'a dyn Fn(&Instance, u32, vk::PhysicalDevice) -> Result<Vec<&'static CStr>>;

/// Configuration of a [`Gpu`].
pub struct GpuInfo<'a> {
    /// A part of the device's name; if `None`, the first device, preferring discrete GPUs.
    pub name: Option<&'a str>,
    /// Whether to enable the validation layer, which must be installed then.
    pub validation: bool,
    /// The instance extensions that a window requires; empty without a window.
    pub window: &'a [&'static CStr],
    /// Further device extensions.
    pub extension_request: ExtensionRequest<'a>,
}

/// Instance, device, queue and memory allocator. Shared by everything that is created from it.
pub struct Gpu {
    entry: Entry,
    instance: Instance,
    physical: vk::PhysicalDevice,
    device: Device,
    queue: Queue,
    allocator: ManuallyDrop<Mutex<Allocator>>,
    extensions: Vec<&'static CStr>,
    instance_extensions: Vec<&'static CStr>,
    name: String,
    messenger: Option<(ext::debug_utils::Instance, vk::DebugUtilsMessengerEXT)>,
    messages: Arc<Messages>,
}

/// Messages of the validation layer.
#[derive(Default)]
pub struct Messages(Mutex<Vec<String>>);

impl Messages {
    /// Returns all messages; also works after the device is destroyed.
    pub fn snapshot(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Gpu {
    /// Creates the instance and the device.
    ///
    /// # Errors
    /// A required driver, device or extension is not available.
    pub fn new(info: &GpuInfo<'_>) -> Result<Arc<Self>> {
        // SAFETY: loads the system's Vulkan loader.
        let entry = unsafe { Entry::load() }.context("no Vulkan loader")?;
        let mut instance_extensions = info.window.to_vec();
        if info.validation {
            instance_extensions.push(ext::debug_utils::NAME);
        }
        let instance = make_instance(&entry, info.validation, &instance_extensions)?;
        let messages = Arc::<Messages>::default();
        let messenger = info.validation.then(|| create_messenger(&entry, &instance, &messages)).transpose()?;
        let (physical, name) = choose(&instance, info.name)?;
        let mut extensions = (info.extension_request)(&instance, VERSION, physical)?;
        if !info.window.is_empty() {
            extensions.push(khr::swapchain::NAME);
        }
        extensions.dedup();
        let (device, family) = make_device(&instance, physical, &extensions).with_context(|| name.clone())?;
        // SAFETY: VUID-vkGetDeviceQueue-queueFamilyIndex-00384: the only queue that the device was
        // created with.
        let queue = Queue::new(unsafe { device.get_device_queue(family, 0) }, family);
        let allocator = Allocator::new(&AllocatorCreateDesc {
            instance: instance.clone(),
            device: device.clone(),
            physical_device: physical,
            debug_settings: gpu_allocator::AllocatorDebugSettings::default(),
            buffer_device_address: false,
            allocation_sizes: gpu_allocator::AllocationSizes::default(),
        })?;
        let allocator = ManuallyDrop::new(Mutex::new(allocator));
        Ok(Arc::new(Self {
            entry,
            instance,
            physical,
            device,
            queue,
            allocator,
            extensions,
            instance_extensions,
            name,
            messenger,
            messages,
        }))
    }

    /// Returns the Vulkan loader.
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Returns the instance, which was created for [`VERSION`].
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// Returns the physical device.
    pub fn physical(&self) -> vk::PhysicalDevice {
        self.physical
    }

    /// Returns the device, with `timelineSemaphore`, `synchronization2` and `dynamicRendering`
    /// enabled.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Returns the queue.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Returns the enabled device extensions.
    pub fn extensions(&self) -> &[&'static CStr] {
        &self.extensions
    }

    /// Returns the enabled instance extensions.
    pub fn instance_extensions(&self) -> &[&'static CStr] {
        &self.instance_extensions
    }

    /// Returns the device's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the validation layer's messages, which may outlive the device.
    pub fn messages(&self) -> &Arc<Messages> {
        &self.messages
    }

    pub(crate) fn allocator(&self) -> MutexGuard<'_, Allocator> {
        self.allocator.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        // SAFETY: not used again; the memory is freed before its device is destroyed.
        unsafe { ManuallyDrop::drop(&mut self.allocator) };
        // SAFETY: VUID-vkDestroyDevice-device-05137: everything created from the device holds an
        // `Arc` of this.
        unsafe { self.device.destroy_device(None) };
        if let Some((functions, messenger)) = self.messenger.take() {
            // SAFETY: created with this instance, and not used any more.
            unsafe { functions.destroy_debug_utils_messenger(messenger, None) };
        }
        // SAFETY: its device and its messenger are destroyed.
        unsafe { self.instance.destroy_instance(None) };
    }
}

fn make_instance(entry: &Entry, validation: bool, extensions: &[&CStr]) -> Result<Instance> {
    // SAFETY: the entry is loaded.
    let layers = unsafe { entry.enumerate_instance_layer_properties() }?;
    let there = layers.iter().any(|layer| layer.layer_name_as_c_str() == Ok(LAYER));
    ensure!(there || !validation, "the validation layer is not installed");
    let application = vk::ApplicationInfo::default().application_name(c"engine").api_version(VERSION);
    let (layers, names) = ([LAYER.as_ptr()], extensions.iter().map(|name| name.as_ptr()).collect::<Vec<_>>());
    let info = vk::InstanceCreateInfo::default()
        .application_info(&application)
        .enabled_layer_names(&layers[..usize::from(validation)])
        .enabled_extension_names(&names);
    // SAFETY: VUID-vkCreateInstance-ppEnabledExtensionNames-01388: the extensions of a window and
    // of the layer are available.
    unsafe { entry.create_instance(&info, None) }.context("vkCreateInstance")
}

fn choose(instance: &Instance, wanted: Option<&str>) -> Result<(vk::PhysicalDevice, String)> {
    // SAFETY: the instance is alive.
    let mut found: Vec<_> = unsafe { instance.enumerate_physical_devices() }?
        .into_iter()
        .map(|physical| {
            // SAFETY: one of the instance's physical devices.
            let properties = unsafe { instance.get_physical_device_properties(physical) };
            let name = properties.device_name_as_c_str().map(|name| name.to_string_lossy().into_owned());
            (properties.device_type != vk::PhysicalDeviceType::DISCRETE_GPU, physical, name.unwrap_or_default())
        })
        .filter(|(_, _, name)| wanted.is_none_or(|wanted| name.to_lowercase().contains(&wanted.to_lowercase())))
        .collect();
    found.sort_by_key(|(later, ..)| *later);
    match found.into_iter().next() {
        Some((_, physical, name)) => Ok((physical, name)),
        None => bail!("no Vulkan device {}", wanted.unwrap_or_default()),
    }
}

fn make_device(instance: &Instance, physical: vk::PhysicalDevice, extensions: &[&CStr]) -> Result<(Device, u32)> {
    // SAFETY: one of the instance's physical devices.
    let families = unsafe { instance.get_physical_device_queue_family_properties(physical) };
    let draws = |family: &vk::QueueFamilyProperties| family.queue_flags.contains(vk::QueueFlags::GRAPHICS);
    let family = u32::try_from(families.iter().position(draws).context("it cannot draw")?)?;
    let names: Vec<_> = extensions.iter().map(|name| name.as_ptr()).collect();
    let queues = [vk::DeviceQueueCreateInfo::default().queue_family_index(family).queue_priorities(&[1.0])];
    let mut features12 = vk::PhysicalDeviceVulkan12Features::default().timeline_semaphore(true);
    let mut features13 = vk::PhysicalDeviceVulkan13Features::default().synchronization2(true).dynamic_rendering(true);
    let info = vk::DeviceCreateInfo::default()
        .queue_create_infos(&queues)
        .enabled_extension_names(&names)
        .push_next(&mut features12)
        .push_next(&mut features13);
    // SAFETY: every Vulkan 1.3 device has these features; the extensions were checked to be
    // available; the call fails for a device of an older version.
    let device = unsafe { instance.create_device(physical, &info, None) }.context("vkCreateDevice")?;
    Ok((device, family))
}

type Messenger = (ext::debug_utils::Instance, vk::DebugUtilsMessengerEXT);

fn create_messenger(entry: &Entry, instance: &Instance, messages: &Arc<Messages>) -> Result<Messenger> {
    let functions = ext::debug_utils::Instance::new(entry, instance);
    let severities = vk::DebugUtilsMessageSeverityFlagsEXT::ERROR | vk::DebugUtilsMessageSeverityFlagsEXT::WARNING;
    let info = vk::DebugUtilsMessengerCreateInfoEXT::default()
        .message_severity(severities)
        .message_type(vk::DebugUtilsMessageTypeFlagsEXT::VALIDATION)
        .pfn_user_callback(Some(debug_callback))
        .user_data(Arc::as_ptr(messages).cast_mut().cast());
    // SAFETY: VUID-VkDebugUtilsMessengerCreateInfoEXT-pUserData: `Gpu` keeps the messages until the
    // messenger is destroyed.
    let messenger = unsafe { functions.create_debug_utils_messenger(&info, None) }?;
    Ok((functions, messenger))
}

/// A message about vkCreateDevice with NVIDIA's driver, for a query that this code does not make
/// (<https://github.com/KhronosGroup/Vulkan-ValidationLayers/issues/8048>).
const OF_THE_DRIVER: &str = "WARNING-vkGetDeviceProcAddr-device";

extern "system" fn debug_callback(
    _: vk::DebugUtilsMessageSeverityFlagsEXT,
    _: vk::DebugUtilsMessageTypeFlagsEXT,
    data: *const vk::DebugUtilsMessengerCallbackDataEXT<'_>,
    messages: *mut c_void,
) -> vk::Bool32 {
    let text = |pointer: *const c_char| match pointer.is_null() {
        true => String::new(),
        // SAFETY: not null, so null-terminated and valid during the call.
        false => unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned(),
    };
    // SAFETY: the layer passes a structure that is valid during the call.
    let data = unsafe { &*data };
    // SAFETY: the pointer that `create_messenger` passed, which outlives the messenger.
    let messages = unsafe { &*messages.cast::<Messages>() };
    let id = text(data.p_message_id_name);
    if id == OF_THE_DRIVER {
        return vk::FALSE;
    }
    let line = format!("{id}: {}", text(data.p_message));
    messages.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    vk::FALSE
}

#[cfg(all(test, target_os = "linux"))]
impl Gpu {
    /// Replaces `vkQueueSubmit2` with `stand_in`, and returns the driver's function.
    pub(crate) fn replace_submit(&mut self, stand_in: vk::PFN_vkQueueSubmit2) -> vk::PFN_vkQueueSubmit2 {
        let real = self.device.fp_v1_3().queue_submit2;
        let (handle, instance) = (self.device.handle(), &self.instance);
        let function = |name: &CStr| {
            if name == c"vkQueueSubmit2" {
                return stand_in as *const c_void;
            }
            // SAFETY: a live device, and a null-terminated name.
            let found = unsafe { (instance.fp_v1_0().get_device_proc_addr)(handle, name.as_ptr()) };
            found.map_or(std::ptr::null(), |function| function as *const c_void)
        };
        // SAFETY: every function is the device's own, or a replacement with the same signature.
        self.device = unsafe { Device::load_with(function, handle) };
        real
    }
}
