//! Extensions and features of a wgpu device that can share with CUDA.
#![allow(unsafe_code)] // Queries a physical device.

use std::ffi::CStr;

use ash::{khr, vk};
use bridge::vk_export::{CUDA_KERNEL_EXTENSIONS, OptionalKind};
use bridge::{Backend, DeviceRequirements, EnabledFeatures, RequiredFeatures, requirements_for};
use wgpu::hal::api::Vulkan;
use wgpu::hal::vulkan;

use super::not_vulkan;
use crate::error::Result;

/// The newest Vulkan version that wgpu 30 requests for an instance.
const WGPU_API_VERSION: u32 = vk::API_VERSION_1_3;

/// Extensions and features that a device needs for sharing and that wgpu does not enable itself.
///
/// For programs that create their device with `wgpu::hal`;
/// [`Bridge::request_device`](crate::Bridge::request_device) does the same. The value must outlive
/// the call of `open_with_callback`:
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
    /// Queries the physical device. Extensions that are only needed for exporting are omitted if
    /// the device lacks them: the bridge then computes on the CPU.
    ///
    /// # Errors
    /// [`bridge::vk_export::Error::Missing`] with everything that the device lacks and that is
    /// needed in any case.
    pub fn of(adapter: &vulkan::Adapter) -> Result<Self> {
        let needed = needed(adapter)?;
        needed.check_met()?;
        // Missing extensions for exporting are omitted; the bridge reports them.
        let synchronization2 = RequiredFeatures::default().synchronization2;
        Ok(Self { extensions: needed.extensions, synchronization2, addresses: None })
    }

    /// Adds what CUDA kernels in command buffers need: [`CUDA_KERNEL_EXTENSIONS`] and
    /// `bufferDeviceAddress`. Only NVIDIA's drivers have these extensions, whose names mark them as
    /// experimental.
    ///
    /// # Errors
    /// [`Error::Missing`](crate::Error::Missing) with everything that the device lacks for this.
    pub fn cuda_kernels(mut self, adapter: &vulkan::Adapter) -> Result<Self> {
        let optional = needed(adapter)?.optional;
        let lacks = |what| !optional.iter().any(|one| one.kind == what && one.is_supported);
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

    /// Returns a callback for `open_with_callback` that adds the requirements, and then calls
    /// `more`, which may add further extensions and features.
    ///
    /// The callback chains `VkPhysicalDeviceSynchronization2Features`, and wgpu enables
    /// `timelineSemaphore`. Neither may be chained a second time.
    pub fn with<'this>(
        &'this mut self,
        more: impl for<'arg, 'pnext> FnOnce(vulkan::CreateDeviceCallbackArgs<'arg, 'pnext, 'this>) + 'this,
    ) -> impl for<'arg, 'pnext> FnOnce(vulkan::CreateDeviceCallbackArgs<'arg, 'pnext, 'this>) + 'this {
        move |args| {
            *args.create_info = self.add(args.extensions, std::mem::take(args.create_info));
            more(args);
        }
    }

    /// Adds the requirements to the extensions and the structure chain of a device that will be
    /// created.
    pub(super) fn add<'this>(
        &'this mut self,
        enabled: &mut Vec<&'static CStr>,
        mut info: vk::DeviceCreateInfo<'this>,
    ) -> vk::DeviceCreateInfo<'this> {
        let Self { extensions, synchronization2, addresses } = self;
        // If wgpu enables this extension, for ray tracing, it chains the feature itself.
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

/// Checks for extensions and features that were not enabled when a device was created. The features
/// are always required; the extensions are required for CUDA only, but are included in the error.
pub(crate) fn check(
    adapter: &wgpu::Adapter,
    enabled: &[&CStr],
    features: &EnabledFeatures,
    backend: Backend,
) -> Result<()> {
    // SAFETY: the guard is only read.
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

/// Returns the bridge's requirements for the adapter's device.
fn needed(adapter: &vulkan::Adapter) -> Result<DeviceRequirements> {
    let instance = adapter.shared_instance();
    let (raw, physical) = (instance.raw_instance(), adapter.raw_physical_device());
    // SAFETY: the physical device is the adapter's, of this instance, which was created for that
    // version.
    Ok(unsafe { requirements_for(raw, api_version(instance), physical) }?)
}

/// Returns the version that the instance of a wgpu device was created with.
pub(crate) fn api_version(instance: &vulkan::InstanceShared) -> u32 {
    instance.instance_api_version().min(WGPU_API_VERSION)
}
