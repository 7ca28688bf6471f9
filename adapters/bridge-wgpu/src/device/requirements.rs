//! What a wgpu device must be created with.
#![allow(unsafe_code)] // Queries a physical device.

use std::ffi::CStr;

use ash::vk;
use bridge::vk_export::{MINIMUM_API_VERSION, RequiredFeatures, required_device_extensions};
use bridge::{Backend, EnabledFeatures};
use wgpu::hal::api::Vulkan;
use wgpu::hal::vulkan;

use super::not_vulkan;

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
        let api_version = device_version(adapter);
        // Older instances lack the query.
        let features = if api_version < MINIMUM_API_VERSION { EnabledFeatures::default() } else { supported(adapter) };
        let missing = basics(api_version, &features);
        if !missing.is_empty() {
            return Err(crate::Error::Missing { device: name(adapter), purpose: "sharing", missing });
        }
        let capabilities = adapter.physical_device_capabilities();
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

/// Checks what was left off when a device was created. Without the basics nothing works; the rest is told along, and is needed by
/// CUDA.
pub(crate) fn check(
    adapter: &wgpu::Adapter,
    enabled: &[&CStr],
    features: &EnabledFeatures,
    backend: Backend,
) -> crate::Result<()> {
    // SAFETY: the guard is only read from.
    let hal = unsafe { adapter.as_hal::<Vulkan>() }.ok_or_else(|| not_vulkan(adapter))?;
    let api_version = device_version(&hal);
    let mut missing = basics(api_version, features);
    let needs_all = backend == Backend::Cuda;
    let lacks_basics = !missing.is_empty();
    // What the device has not got was not left off: `Compute::new` tells of that.
    let capabilities = hal.physical_device_capabilities();
    let left_off = |name: &&CStr| !enabled.contains(name) && capabilities.supports_extension(name);
    let extensions = required_device_extensions(api_version).filter(left_off);
    missing.extend(extensions.map(|name| format!("device extension {}", name.to_string_lossy())));
    if lacks_basics || needs_all && !missing.is_empty() {
        let purpose = "sharing (see `Requirements`)";
        return Err(crate::Error::Missing { device: name(&hal), purpose, missing });
    }
    Ok(())
}

/// What is missing of the version and the features without which nothing works.
fn basics(api_version: u32, features: &EnabledFeatures) -> Vec<String> {
    let mut missing = Vec::new();
    if api_version < MINIMUM_API_VERSION {
        let (major, minor) = (vk::api_version_major(api_version), vk::api_version_minor(api_version));
        missing.push(format!("Vulkan 1.2 (it has {major}.{minor})"));
    }
    for (name, on) in
        [("timelineSemaphore", features.timeline_semaphore), ("synchronization2", features.synchronization2)]
    {
        if !on {
            missing.push(format!("feature {name}"));
        }
    }
    missing
}

fn name(adapter: &vulkan::Adapter) -> String {
    let properties = adapter.physical_device_capabilities().properties();
    properties.device_name_as_c_str().map_or_else(|_| "?".into(), CStr::to_string_lossy).into_owned()
}

/// The lower of the instance's version and the device's.
fn device_version(adapter: &vulkan::Adapter) -> u32 {
    api_version(adapter.shared_instance()).min(adapter.physical_device_capabilities().properties().api_version)
}

/// The version that the instance of a wgpu device was created with.
pub(crate) fn api_version(instance: &vulkan::InstanceShared) -> u32 {
    instance.instance_api_version().min(WGPU_API_VERSION)
}

/// Which of the required features the physical device has.
fn supported(adapter: &vulkan::Adapter) -> EnabledFeatures {
    let mut timeline_semaphore = vk::PhysicalDeviceTimelineSemaphoreFeatures::default();
    let mut synchronization2 = vk::PhysicalDeviceSynchronization2Features::default();
    let mut query =
        vk::PhysicalDeviceFeatures2::default().push_next(&mut timeline_semaphore).push_next(&mut synchronization2);
    let instance = adapter.shared_instance().raw_instance();
    // SAFETY: the physical device is the adapter's own, of this instance; structures that a driver does not know are skipped
    // (Vulkan specification, "Valid Usage for Structure Pointer Chains").
    unsafe { instance.get_physical_device_features2(adapter.raw_physical_device(), &mut query) };
    let mut features = EnabledFeatures::default();
    features.timeline_semaphore = timeline_semaphore.timeline_semaphore == vk::TRUE;
    features.synchronization2 = synchronization2.synchronization2 == vk::TRUE;
    features
}
