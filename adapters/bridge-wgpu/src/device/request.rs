//! A wgpu device that is created with what the bridge needs.
#![allow(unsafe_code)] // Opens a device through `wgpu::hal`.

use bridge::{Backend, EnabledFeatures};
use wgpu::hal::api::Vulkan;

use super::requirements::Requirements;
use super::{Bridge, not_vulkan};
use crate::error::{Error, Result};

impl Bridge {
    /// Creates a device, as [`wgpu::Adapter::request_device`], with the extensions and features
    /// that sharing needs, and the compute side on the same GPU: with [`Backend::Auto`] CUDA where
    /// that can share, else the CPU, with a warning in the log.
    ///
    /// ```no_run
    /// # use bridge_wgpu::{Backend, Bridge, wgpu};
    /// # async fn device() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    /// descriptor.backends = wgpu::Backends::VULKAN;
    /// let instance = wgpu::Instance::new(descriptor);
    /// let adapter =
    ///     instance.request_adapter(&wgpu::RequestAdapterOptions::default()).await?;
    /// let bridge = Bridge::request_device(
    ///     &adapter,
    ///     &wgpu::DeviceDescriptor::default(),
    ///     Backend::Auto,
    /// )?;
    /// println!("{} computes: {}", bridge.backend(), bridge.reason());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - [`Error::NotVulkan`] on other backends of wgpu.
    /// - [`Error::Missing`] with all that the GPU lacks of what `descriptor` requires, and
    ///   [`bridge::vk_export::Error::Missing`] with all that it lacks of what sharing needs.
    /// - [`Error::RequestDevice`] with what wgpu says.
    /// - [`bridge::Error::NoCuda`] where CUDA was asked for and cannot share, and
    ///   [`Error::InvalidArgument`] for [`Backend::Inline`], whose submissions cannot be made under
    ///   wgpu's lock.
    pub fn request_device(
        adapter: &wgpu::Adapter,
        descriptor: &wgpu::DeviceDescriptor<'_>,
        backend: Backend,
    ) -> Result<Self> {
        Self::request(adapter, descriptor, backend, false)
    }

    /// [`request_device`](Self::request_device) with what CUDA kernels in wgpu's own command
    /// buffers need, see [`launch`](Self::launch).
    ///
    /// # Errors
    /// As [`request_device`](Self::request_device), and [`Error::Missing`] with all that the GPU
    /// lacks for kernels: NVIDIA's drivers alone have the extensions.
    pub fn request_device_with_kernels(
        adapter: &wgpu::Adapter,
        descriptor: &wgpu::DeviceDescriptor<'_>,
        backend: Backend,
    ) -> Result<Self> {
        Self::request(adapter, descriptor, backend, true)
    }

    fn request(
        adapter: &wgpu::Adapter,
        descriptor: &wgpu::DeviceDescriptor<'_>,
        backend: Backend,
        kernels: bool,
    ) -> Result<Self> {
        // SAFETY: the guard is only read from, and used to open a device.
        let hal = unsafe { adapter.as_hal::<Vulkan>() }.ok_or_else(|| not_vulkan(adapter))?;
        let name = adapter.get_info().name;
        let missing = lacking(adapter, descriptor);
        if !missing.is_empty() {
            return Err(Error::Missing { device: name, purpose: "what the descriptor requires", missing });
        }
        let failed = |reason: String| Error::RequestDevice { adapter: name.clone(), reason };
        let mut needed = Requirements::of(&hal)?;
        if kernels {
            needed = needed.cuda_kernels(&hal)?;
        }
        let callback = needed.with(|_| {});
        let (features, limits) = (descriptor.required_features, &descriptor.required_limits);
        let opened =
            // SAFETY: the required features and limits are the adapter's, as seen above; the
            // callback removes nothing, and adds extensions and a feature that the physical device
            // has.
            unsafe { hal.open_with_callback(features, limits, &descriptor.memory_hints, Some(Box::new(callback))) };
        let opened = opened.map_err(|error| failed(error.to_string()))?;
        drop(hal);
        // SAFETY: opened from this adapter, with these features.
        let created = unsafe { adapter.create_device_from_hal(opened, descriptor) };
        let (device, queue) = created.map_err(|error| failed(error.to_string()))?;
        let mut enabled = EnabledFeatures::default();
        // wgpu enables it wherever a device has it, which was asked for above.
        enabled.timeline_semaphore = true;
        enabled.synchronization2 = true;
        enabled.buffer_device_address = kernels;
        // SAFETY: made from this adapter a moment ago, with these two features.
        unsafe { Self::adopt(adapter, &device, &queue, enabled, backend) }
    }
}

/// Makes all checks that [`wgpu::Adapter::request_device`] makes and `wgpu::hal` does not.
fn lacking(adapter: &wgpu::Adapter, descriptor: &wgpu::DeviceDescriptor<'_>) -> Vec<String> {
    let features = descriptor.required_features - adapter.features();
    let mut missing: Vec<_> = features.iter_names().map(|(name, _)| format!("wgpu feature {name}")).collect();
    let experimental = descriptor.required_features & wgpu::Features::all_experimental_mask();
    if !experimental.is_empty() && !descriptor.experimental_features.is_enabled() {
        missing.push(format!("`experimental_features` for {experimental}"));
    }
    descriptor.required_limits.check_limits_with_fail_fn(&adapter.limits(), false, |name, wanted, allowed| {
        missing.push(format!("limit {name} of {wanted} (it has {allowed})"));
    });
    missing
}
