//! Extensions and features of a wgpu device that can share with CUDA.
#![allow(unsafe_code)] // Queries a physical device.

use std::ffi::CStr;

use ash::{khr, vk};
use bridge::vk_export::{CUDA_KERNEL_EXTENSIONS, OptionalKind};
use bridge::{Backend, DeviceRequirements, EnabledFeatures, RequiredFeatures, requirements_for};
use wgpu::hal::api::Vulkan;
use wgpu::hal::vulkan;

use super::not_vulkan;

/// The newest Vulkan that wgpu 30 asks an instance for.
const WGPU_API_VERSION: u32 = vk::API_VERSION_1_3;

/// Extensions and features that a device needs for sharing and that wgpu does not enable itself.
///
/// For programs that create their device with `wgpu::hal`;
/// [`Bridge::request_device`](crate::Bridge::request_device) does the same. It outlives the call of
/// `open_with_callback`:
///
/// ```no_run
/// # use bridge_wgpu::{Error, Requirements, wgpu};
/// # #[allow(unsafe_code)]
/// # fn open(
/// #     adapter: &wgpu::hal::vulkan::Adapter,
/// #     limits: &wgpu::Limits,
/// # ) -> Result<(), Box<dyn std::error::Error>> {
/// let mut needed = Requirements::of(adapter)?;
/// let hints = wgpu::MemoryHints::default();
/// let callback =
///     |args: wgpu::hal::vulkan::CreateDeviceCallbackArgs<'_, '_, '_>| {
///         // The engine's own additions.
///         args.extensions.push(c"VK_EXT_memory_budget");
///     };
/// // SAFETY: the callback only adds what the device has.
/// let device = unsafe {
///     adapter.open_with_callback(
///         wgpu::Features::empty(),
///         limits,
///         &hints,
///         Some(Box::new(needed.with(callback))),
///     )
/// }?;
/// # drop(device);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Requirements {
    extensions: Vec<&'static CStr>,
    synchronization2: vk::PhysicalDeviceSynchronization2Features<'static>,
    /// Features for CUDA kernels in command buffers; `None` unless requested.
    addresses: Option<vk::PhysicalDeviceBufferDeviceAddressFeatures<'static>>,
}

impl Requirements {
    /// Asks the physical device. Extensions that only exporting needs are left out where the device
    /// has none: then the bridge computes on the CPU.
    ///
    /// # Errors
    /// [`bridge::vk_export::Error::Missing`] with all that the device lacks and without which
    /// nothing works.
    pub fn of(adapter: &vulkan::Adapter) -> crate::Result<Self> {
        let needed = needed(adapter)?;
        needed.check_met()?;
        // What the device lacks of exporting is left out; the bridge tells of it.
        let synchronization2 = RequiredFeatures::default().synchronization2;
        Ok(Self { extensions: needed.extensions, synchronization2, addresses: None })
    }

    /// With what CUDA kernels in command buffers need: [`CUDA_KERNEL_EXTENSIONS`] and
    /// `bufferDeviceAddress`. NVIDIA's drivers alone have these extensions, which are experimental
    /// by name.
    ///
    /// # Errors
    /// [`Error::Missing`](crate::Error::Missing) with all that the device lacks of it.
    pub fn cuda_kernels(mut self, adapter: &vulkan::Adapter) -> crate::Result<Self> {
        let optional = needed(adapter)?.optional;
        let lacks = |what| !optional.iter().any(|one| one.what == what && one.is_there);
        let extensions = CUDA_KERNEL_EXTENSIONS.iter().filter(|name| lacks(OptionalKind::Extension(name)));
        let mut missing: Vec<_> =
            extensions.map(|name| format!("device extension {}", name.to_string_lossy())).collect();
        if lacks(OptionalKind::Feature("bufferDeviceAddress")) {
            missing.push("feature bufferDeviceAddress".to_owned());
        }
        if !missing.is_empty() {
            let device = needed(adapter)?.physical.name;
            return Err(crate::Error::Missing { device, purpose: "CUDA kernels in command buffers", missing });
        }
        self.extensions.extend(CUDA_KERNEL_EXTENSIONS);
        self.addresses = Some(vk::PhysicalDeviceBufferDeviceAddressFeatures::default().buffer_device_address(true));
        Ok(self)
    }

    /// A callback for `open_with_callback` that adds what is needed, and then calls `more`, which
    /// may add further extensions and features.
    ///
    /// `VkPhysicalDeviceSynchronization2Features` is chained by this; `timelineSemaphore` is
    /// enabled by wgpu. Neither may be chained once more.
    pub fn with<'this>(
        &'this mut self,
        more: impl for<'arg, 'pnext> FnOnce(vulkan::CreateDeviceCallbackArgs<'arg, 'pnext, 'this>) + 'this,
    ) -> impl for<'arg, 'pnext> FnOnce(vulkan::CreateDeviceCallbackArgs<'arg, 'pnext, 'this>) + 'this {
        move |args| {
            *args.create_info = self.add(args.extensions, std::mem::take(args.create_info));
            more(args);
        }
    }

    /// Adds what is needed to the extensions and the chain of a device that is to be created.
    pub(super) fn add<'this>(
        &'this mut self,
        enabled: &mut Vec<&'static CStr>,
        mut info: vk::DeviceCreateInfo<'this>,
    ) -> vk::DeviceCreateInfo<'this> {
        let Self { extensions, synchronization2, addresses } = self;
        // With this extension, which it enables for ray tracing, wgpu chains the feature itself.
        let by_wgpu = enabled.contains(&khr::buffer_device_address::NAME);
        for name in extensions.iter() {
            // wgpu enables some of them itself.
            if !enabled.contains(name) {
                enabled.push(name);
            }
        }
        info = info.push_next(synchronization2);
        match addresses.as_mut().filter(|_| !by_wgpu) {
            Some(addresses) => info.push_next(addresses),
            None => info,
        }
    }
}

/// Checks what was left off when a device was created. Without the features nothing works; the rest
/// is told along, and is needed by CUDA.
pub(crate) fn check(
    adapter: &wgpu::Adapter,
    enabled: &[&CStr],
    features: &EnabledFeatures,
    backend: Backend,
) -> crate::Result<()> {
    // SAFETY: the guard is only read from.
    let hal = unsafe { adapter.as_hal::<Vulkan>() }.ok_or_else(|| not_vulkan(adapter))?;
    let needed = needed(&hal)?;
    let on = [("timelineSemaphore", features.timeline_semaphore), ("synchronization2", features.synchronization2)];
    let mut missing: Vec<_> = on.iter().filter(|(_, on)| !on).map(|(name, _)| format!("feature {name}")).collect();
    let fatal = !missing.is_empty() || backend == Backend::Cuda;
    let left_off = needed.extensions.iter().filter(|name| !enabled.contains(name));
    missing.extend(left_off.map(|name| format!("device extension {}", name.to_string_lossy())));
    if fatal && !missing.is_empty() {
        let purpose = "sharing (see `Requirements`)";
        return Err(crate::Error::Missing { device: needed.physical.name.clone(), purpose, missing });
    }
    Ok(())
}

/// Returns what the bridge requires of the adapter's device.
fn needed(adapter: &vulkan::Adapter) -> crate::Result<DeviceRequirements> {
    let instance = adapter.shared_instance();
    let (raw, physical) = (instance.raw_instance(), adapter.raw_physical_device());
    // SAFETY: the physical device is the adapter's own, of this instance, which was created for
    // that version.
    Ok(unsafe { requirements_for(raw, api_version(instance), physical) }?)
}

/// The version that the instance of a wgpu device was created with.
pub(crate) fn api_version(instance: &vulkan::InstanceShared) -> u32 {
    instance.instance_api_version().min(WGPU_API_VERSION)
}
