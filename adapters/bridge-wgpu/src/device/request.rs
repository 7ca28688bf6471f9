//! Creation of a wgpu device with the extensions and features that the bridge needs.
#![allow(unsafe_code)] // Opens a device through `wgpu::hal`.

use ash::vk;
use bridge::{Backend, EnabledFeatures};
use wgpu::hal::api::Vulkan;
use wgpu::hal::{OpenDevice, vulkan};

use super::requirements::Requirements;
use super::splice::{self, Splice};
use super::{Bridge, not_vulkan, probe};
use crate::error::{Error, Result};

impl Bridge {
    /// Creates a device like [`wgpu::Adapter::request_device`], with the extensions and features
    /// that sharing needs, and the compute side on the same GPU. [`Backend::Auto`] selects CUDA if
    /// it can share, and otherwise the CPU, with a warning in the log.
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
    /// - [`Error::Missing`] with everything that `descriptor` requires and the GPU lacks, and
    ///   [`bridge::vk_export::Error::Missing`] with everything that sharing needs and the GPU
    ///   lacks.
    /// - [`Error::RequestDevice`] with wgpu's message.
    /// - [`bridge::Error::NoCuda`] if CUDA was requested and cannot share, and
    ///   [`Error::InvalidArgument`] for [`Backend::Inline`], whose submissions cannot be made under
    ///   wgpu's lock.
    pub fn request_device(
        adapter: &wgpu::Adapter,
        descriptor: &wgpu::DeviceDescriptor<'_>,
        backend: Backend,
    ) -> Result<Self> {
        Self::request(adapter, descriptor, backend, false)
    }

    /// Like [`request_device`](Self::request_device), with everything that CUDA kernels in wgpu's
    /// command buffers need; see [`launch`](Self::launch).
    ///
    /// # Errors
    /// Those of [`request_device`](Self::request_device), and [`Error::Missing`] with everything
    /// that the GPU lacks for kernels: only NVIDIA's drivers have the extensions.
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
        // SAFETY: the guard is only read, and used to open a device.
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
        // SAFETY: the adapter has the required features and limits, as checked above.
        let opened = unsafe { open(adapter, &hal, descriptor, &mut needed) };
        let (opened, splice) = opened.map_err(failed)?;
        drop(hal);
        // SAFETY: opened from this adapter, with these features.
        let created = unsafe { adapter.create_device_from_hal(opened, descriptor) };
        let (device, queue) = created.map_err(|error| failed(error.to_string()))?;
        let splice = match splice {
            Some(splice) => probe::probe(splice, (&device, &queue), &name).map_err(failed)?,
            None => None,
        };
        let mut enabled = EnabledFeatures::default();
        // wgpu enables the feature on every device that has it, which was checked above.
        enabled.timeline_semaphore = true;
        enabled.synchronization2 = true;
        enabled.buffer_device_address = kernels;
        // SAFETY: just created from this adapter, with these features.
        unsafe { Self::adopt_with(adapter, (&device, &queue), enabled, backend, splice) }
    }
}

/// Creates the device as `open_with_callback` of `wgpu::hal` does, with a queue that submits
/// through [`splice`] unless the program has two Vulkan loaders. The error is the reason as text.
///
/// # Safety
/// The adapter has the features and limits that the descriptor requires.
unsafe fn open(
    adapter: &wgpu::Adapter,
    hal: &vulkan::Adapter,
    descriptor: &wgpu::DeviceDescriptor<'_>,
    needed: &mut Requirements,
) -> Result<(OpenDevice<Vulkan>, Option<Splice>), String> {
    /// The queue family that wgpu uses.
    const FAMILY: u32 = 0;
    let (features, instance) = (descriptor.required_features, hal.shared_instance().raw_instance());
    let mut extensions = hal.required_device_extensions(features);
    let mut enabled = hal.physical_device_features(&extensions, features);
    let queues = [vk::DeviceQueueCreateInfo::default().queue_family_index(FAMILY).queue_priorities(&[1.0])];
    let info = needed.add(&mut extensions, vk::DeviceCreateInfo::default());
    let names: Vec<_> = extensions.iter().map(|name| name.as_ptr()).collect();
    let info = enabled.add_to_device_create(info.queue_create_infos(&queues).enabled_extension_names(&names));
    // SAFETY: the extensions and features are those that wgpu has found on the physical device for
    // the requirements, and those that `Requirements` has found there.
    let created = unsafe { instance.create_device(hal.raw_physical_device(), &info, None) };
    let created = created.map_err(|error| format!("vkCreateDevice failed: {error:?}"))?;
    // SAFETY: the device is live, with a queue of that family; it is forgotten below, before it is
    // destroyed.
    let loaded = unsafe { splice::load(hal.shared_instance().entry(), instance, created.handle(), FAMILY) };
    let (device, splice) = match loaded {
        Ok(Some((device, splice))) => (device, Some(splice)),
        Ok(None) => (created.clone(), None),
        Err(function) => {
            // SAFETY: the device has no child objects.
            unsafe { created.destroy_device(None) };
            return Err(format!("the device has no {function}"));
        }
    };
    // The adapter keeps the instance alive, of which wgpu drops its own reference first.
    let instance = adapter.clone();
    let dropped = move || {
        splice.into_iter().for_each(splice::forget);
        // SAFETY: wgpu calls this once, after it has destroyed everything that it created from the
        // device.
        unsafe { created.destroy_device(None) };
        drop(instance);
    };
    let opened =
        // SAFETY: just created from this adapter, with that family and these extensions, which are
        // a superset of those that wgpu requires, and with its features; valid until the callback
        // is called.
        unsafe {
            hal.device_from_raw(
                device,
                Some(Box::new(dropped)),
                &extensions,
                features,
                &descriptor.required_limits,
                &descriptor.memory_hints,
                FAMILY,
                0,
            )
        };
    opened.map(|opened| (opened, splice)).map_err(|error| error.to_string())
}

/// Makes the checks that [`wgpu::Adapter::request_device`] makes and `wgpu::hal` does not.
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
