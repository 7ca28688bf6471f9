//! What a wgpu device must be created with.
#![allow(unsafe_code)] // Queries a physical device.

use std::ffi::CStr;

use ash::vk;
use bridge::vk_export::{MINIMUM_API_VERSION, RequiredFeatures, required_device_extensions};
use wgpu::hal::vulkan;

/// The newest Vulkan that wgpu 30 asks an instance for.
const WGPU_API_VERSION: u32 = vk::API_VERSION_1_3;

/// What sharing needs of a device, beside what wgpu enables by itself, ready to be added when the device is created.
///
/// For programs that create their device with `wgpu::hal`; [`Bridge::request_device`](crate::Bridge::request_device) does the same. It
/// outlives the call of `open_with_callback`:
///
/// ```no_run
/// # use bridge_wgpu::{Error, Requirements, wgpu};
/// # #[allow(unsafe_code)]
/// # fn open(adapter: &wgpu::hal::vulkan::Adapter, limits: &wgpu::Limits) -> Result<(), Box<dyn std::error::Error>> {
/// let mut needed = Requirements::of(adapter)?;
/// let hints = wgpu::MemoryHints::default();
/// let callback = |args: wgpu::hal::vulkan::CreateDeviceCallbackArgs<'_, '_, '_>| {
///     // The engine's own additions.
///     args.extensions.push(c"VK_EXT_memory_budget");
/// };
/// // SAFETY: the callback only adds what the device has.
/// let device = unsafe {
///     adapter.open_with_callback(wgpu::Features::empty(), limits, &hints, Some(Box::new(needed.with(callback))))
/// }?;
/// # drop(device);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Requirements {
    extensions: Vec<&'static CStr>,
    synchronization2: vk::PhysicalDeviceSynchronization2Features<'static>,
}

impl Requirements {
    /// Asks the physical device. Extensions that only exporting needs are left out where the device has none: then the bridge
    /// computes on the CPU.
    ///
    /// # Errors
    /// [`Error::Missing`](crate::Error::Missing) with all that the device lacks and without which nothing works.
    pub fn of(adapter: &vulkan::Adapter) -> crate::Result<Self> {
        let capabilities = adapter.physical_device_capabilities();
        let properties = capabilities.properties();
        let api_version = api_version(adapter.shared_instance()).min(properties.api_version);
        let mut missing = Vec::new();
        if api_version < MINIMUM_API_VERSION {
            let (major, minor) = (vk::api_version_major(api_version), vk::api_version_minor(api_version));
            missing.push(format!("Vulkan 1.2 (it has {major}.{minor})"));
        }
        // Older instances lack the query.
        let features = (api_version >= MINIMUM_API_VERSION).then(|| supported(adapter));
        if features.is_some_and(|features| features.timeline_semaphore.timeline_semaphore == vk::FALSE) {
            missing.push("feature timelineSemaphore".to_owned());
        }
        if features.is_some_and(|features| features.synchronization2.synchronization2 == vk::FALSE) {
            missing.push("feature synchronization2".to_owned());
        }
        if !missing.is_empty() {
            let name = properties.device_name_as_c_str().map_or_else(|_| "?".into(), CStr::to_string_lossy);
            return Err(crate::Error::Missing { device: name.into_owned(), purpose: "sharing", missing });
        }
        // What is left out shows in `ExportDevice::export_gaps`, of which the bridge tells.
        let extensions = required_device_extensions(api_version);
        let extensions = extensions.filter(|name| capabilities.supports_extension(name)).collect();
        Ok(Self { extensions, synchronization2: RequiredFeatures::default().synchronization2 })
    }

    /// A callback for `open_with_callback` that adds what is needed, and then calls `more`, which may add further extensions and
    /// features.
    ///
    /// `VkPhysicalDeviceSynchronization2Features` is chained by this; `timelineSemaphore` is enabled by wgpu. Neither may be
    /// chained once more.
    pub fn with<'this>(
        &'this mut self,
        more: impl for<'arg, 'pnext> FnOnce(vulkan::CreateDeviceCallbackArgs<'arg, 'pnext, 'this>) + 'this,
    ) -> impl for<'arg, 'pnext> FnOnce(vulkan::CreateDeviceCallbackArgs<'arg, 'pnext, 'this>) + 'this {
        let Self { extensions, synchronization2 } = self;
        move |args| {
            for name in extensions.iter() {
                // wgpu enables some of them itself.
                if !args.extensions.contains(name) {
                    args.extensions.push(name);
                }
            }
            *args.create_info = std::mem::take(args.create_info).push_next(synchronization2);
            more(args);
        }
    }
}

/// The version that the instance of a wgpu device was created with.
pub(crate) fn api_version(instance: &vulkan::InstanceShared) -> u32 {
    instance.instance_api_version().min(WGPU_API_VERSION)
}

/// Which of the required features the physical device has.
fn supported(adapter: &vulkan::Adapter) -> RequiredFeatures {
    let mut features = RequiredFeatures::default();
    features.timeline_semaphore.timeline_semaphore = vk::FALSE;
    features.synchronization2.synchronization2 = vk::FALSE;
    let mut query = vk::PhysicalDeviceFeatures2::default()
        .push_next(&mut features.timeline_semaphore)
        .push_next(&mut features.synchronization2);
    let instance = adapter.shared_instance().raw_instance();
    // SAFETY: the physical device is the adapter's own, of this instance; structures that a driver does not know are skipped
    // (Vulkan specification, "Valid Usage for Structure Pointer Chains").
    unsafe { instance.get_physical_device_features2(adapter.raw_physical_device(), &mut query) };
    features.timeline_semaphore.p_next = std::ptr::null_mut();
    features.synchronization2.p_next = std::ptr::null_mut();
    features
}
