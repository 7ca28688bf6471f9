//! A wgpu device and its bridge.
#![allow(unsafe_code)] // Lends wgpu's device to the bridge.

mod barriers;
pub(crate) mod layouts;
mod loader;
mod on_stream;
pub(crate) mod probe;
mod request;
pub(crate) mod requirements;
pub(crate) mod splice;

use std::sync::Arc;

use bridge::vk_export::ExportDevice;
use bridge::{
    AdoptInfo, Backend, Compute, CudaCompute, EnabledFeatures, FormatSupport, KernelMemory, KernelModule, Uuid,
    format_support,
};
use bytemuck::Pod;
use wgpu::hal::api::Vulkan;

use crate::error::{Error, Result};
use crate::scope::capture;
use splice::Splice;

/// A wgpu device with its queue, and the compute side on the same GPU. Clones refer to the same
/// device.
///
/// Created by [`request_device`](Self::request_device), or by [`adopt`](Self::adopt) from an
/// existing device. [`on_stream`](Self::on_stream) creates a second `Bridge` of the same device
/// that computes on an existing CUDA stream.
///
/// # Submissions
/// wgpu has a private lock around its queue, which other code cannot take. Therefore everything
/// that this crate submits goes through [`wgpu::Queue::submit`], and any thread may submit at the
/// same time. Functions of [`bridge`] that would submit by themselves, such as those of a
/// [`bridge::Exchange`] on [`KernelModule::device`](bridge::vk_export::KernelModule::device),
/// return [`OnlyEngineSubmits`](bridge::vk_export::Error::OnlyEngineSubmits).
///
/// # Waits without a limit
/// wgpu waits for its queue without a limit in [`wgpu::Surface::configure`], when a configured
/// surface or the last [`wgpu::Queue`] is dropped, and in [`wgpu::Device::poll`] with
/// [`wgpu::PollType::wait_indefinitely`]. After a fault of a CUDA kernel, the queue may wait for a
/// signal that never comes, and these calls hang. Use
/// [`configure_surface`](Self::configure_surface) for the first, and call
/// [`wait_for_signals`](Self::wait_for_signals) before the others.
#[derive(Clone)]
pub struct Bridge(Arc<Inner>);

struct Inner {
    // Field order is drop order: the compute side is dropped before the device that it uses.
    compute: Compute,
    shared: Arc<Gpu>,
}

/// wgpu's side, which all compute sides of a device share.
struct Gpu {
    queue: wgpu::Queue,
    device: wgpu::Device,
    adapter: wgpu::Adapter,
    /// Adds a frame's semaphores to wgpu's submission; only on devices created here.
    splice: Option<Splice>,
}

impl Bridge {
    /// Borrows a wgpu device that was created elsewhere, such as an engine's. The device stays
    /// alive as long as the `Bridge` and everything created from it.
    ///
    /// A device from `wgpu::Adapter::request_device` lacks `synchronization2`.
    /// [`Requirements`](crate::Requirements) contains what must be added when a device is created
    /// with `wgpu::hal`.
    ///
    /// # Errors
    /// [`Error::NotVulkan`], [`Error::Missing`] with everything that was not enabled,
    /// [`Error::InvalidArgument`] for [`Backend::Inline`], and the errors of [`Compute::new`] for
    /// the backend.
    ///
    /// # Safety
    /// - `device` and `queue` belong together and were created from `adapter`.
    /// - `features` contains only features that were enabled when the device was created.
    pub unsafe fn adopt(
        adapter: &wgpu::Adapter,
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        features: EnabledFeatures,
        backend: Backend,
    ) -> Result<Self> {
        // SAFETY: the same contract.
        unsafe { Self::adopt_with(adapter, (device, queue), features, backend, None) }
    }

    /// Like [`adopt`](Self::adopt), for a device whose queue may add semaphores to wgpu's
    /// submissions.
    ///
    /// # Safety
    /// The contract of [`adopt`](Self::adopt).
    unsafe fn adopt_with(
        adapter: &wgpu::Adapter,
        (device, queue): (&wgpu::Device, &wgpu::Queue),
        features: EnabledFeatures,
        backend: Backend,
        splice: Option<Splice>,
    ) -> Result<Self> {
        // SAFETY: the guard is only read.
        let hal = unsafe { device.as_hal::<Vulkan>() }.ok_or_else(|| not_vulkan(adapter))?;
        if backend == Backend::Inline {
            return Err(Error::invalid(
                "the inline backend",
                "it submits to the queue by itself, behind wgpu's lock; `Bridge::launch` records kernels into wgpu's own command \
                 buffers, on a device of `Bridge::request_device_with_kernels`",
            ));
        }
        let instance = hal.shared_instance();
        let extensions = hal.enabled_device_extensions().to_vec();
        requirements::check(adapter, &extensions, &features, backend)?;
        let mut info = AdoptInfo::new(
            (instance.entry().clone(), instance.raw_instance().clone(), requirements::api_version(instance)),
            hal.raw_physical_device(),
            hal.raw_device().clone(),
            (hal.raw_queue(), hal.queue_family_index()),
        );
        info.device_extensions = &extensions;
        info.instance_extensions = instance.extensions();
        info.features = features;
        // wgpu's lock cannot be taken, and the program can get the adopted device, such as that of
        // a kernel module. This crate submits through wgpu.
        info.only_engine_submits = true;
        info.keep_alive = Some(Box::new(device.clone()));
        // SAFETY: the handles belong to one wgpu device, which lives as long as its clone in
        // `keep_alive`, as does its instance; the extensions are those that wgpu enabled; the
        // caller guarantees the features. Only wgpu makes calls on the queue.
        let export = unsafe { ExportDevice::adopt(info) }?;
        drop(hal);
        let compute = Compute::new(&export, backend)?;
        let (queue, device, adapter) = (queue.clone(), device.clone(), adapter.clone());
        let shared = Arc::new(Gpu { queue, device, adapter, splice });
        Ok(Self(Arc::new(Inner { compute, shared })))
    }

    /// Returns a `Bridge` of the same wgpu device with another compute side of that device.
    pub(crate) fn beside(&self, compute: Compute) -> Self {
        Self(Arc::new(Inner { compute, shared: Arc::clone(&self.0.shared) }))
    }

    /// Returns a `Bridge` of the same wgpu device that stages semaphores, as on an adopted device.
    #[cfg(test)]
    #[allow(clippy::unwrap_used)] // For tests.
    pub(crate) fn staging(&self) -> Self {
        let Gpu { queue, device, adapter, .. } = &*self.0.shared;
        let (queue, device, adapter) = (queue.clone(), device.clone(), adapter.clone());
        let shared = Arc::new(Gpu { queue, device, adapter, splice: None });
        let compute = Compute::new(self.compute().device(), self.backend()).unwrap();
        Self(Arc::new(Inner { compute, shared }))
    }

    /// Returns wgpu's device.
    pub fn device(&self) -> &wgpu::Device {
        &self.0.shared.device
    }

    /// Returns wgpu's queue.
    pub fn queue(&self) -> &wgpu::Queue {
        &self.0.shared.queue
    }

    /// Returns the UUID of the GPU, by which CUDA identifies it as well:
    /// [`CudaDevice::by_uuid`](bridge::CudaDevice::by_uuid) returns the same GPU. CUDA's devices
    /// and wgpu's adapters have different orders.
    pub fn uuid(&self) -> Uuid {
        self.0.compute.device().uuid()
    }

    /// Returns the backend in use, which is not [`Backend::Auto`].
    pub fn backend(&self) -> Backend {
        self.0.compute.backend()
    }

    /// Returns the reason for this backend, as text for the user.
    pub fn reason(&self) -> &str {
        self.0.compute.reason()
    }

    /// Returns the CUDA side, if CUDA computes.
    pub fn cuda(&self) -> Option<&CudaCompute> {
        self.0.compute.cuda()
    }

    /// Loads CUDA kernels, as [`Compute::load`]. Load every kernel, and launch it once, before the
    /// first frame: the driver blocks both while a stream waits, as that of an exchange in step
    /// does in nearly every frame.
    ///
    /// [`Backend::Host`] compiles no kernels: it calls twins in Rust instead, which
    /// [`KernelModule::with_twin`] adds to the module. A program whose kernels have twins launches
    /// them in the same way on every backend.
    ///
    /// # Errors
    /// Those of [`Compute::load`].
    pub fn load(&self, name: &str, ptx: &str) -> Result<KernelModule> {
        Ok(self.0.compute.load(name, ptx)?)
    }

    /// Creates device memory for the state of kernels, as [`Compute::kernel_memory`]: for launches
    /// in frames of exchanges in step of this `Bridge`.
    ///
    /// The compute side of [`Exchange::latest`](crate::Exchange::latest) has its own stream, with
    /// its own memory: [`LatestWriter::kernel_memory`](crate::LatestWriter::kernel_memory) or
    /// [`LatestReader::kernel_memory`](crate::LatestReader::kernel_memory).
    ///
    /// ```no_run
    /// use bridge_wgpu::bridge::Kernel;
    /// use bridge_wgpu::{Bridge, Exchange, LaunchConfig, SharedBuffer};
    ///
    /// # #[allow(unsafe_code)]
    /// # fn simulate(
    /// #     bridge: &Bridge,
    /// #     kernel: &Kernel,
    /// #     exchange: &mut Exchange<SharedBuffer<f32>>,
    /// #     commands: impl Fn() -> wgpu::CommandBuffer,
    /// # ) -> Result<(), bridge_wgpu::Error> {
    /// // Once.
    /// let velocities = bridge.kernel_memory("velocities", &[0.0f32; 1000])?;
    /// // In each frame.
    /// let mut turn = exchange.begin()?;
    /// let work = turn.work().kernels()?;
    /// let config = LaunchConfig::for_elements(1000, 256);
    /// // SAFETY: the kernel takes two pointers to float; both have 1000 elements.
    /// unsafe { work.launch(kernel, &config, (work.resources, &velocities)) }?;
    /// bridge.submit([commands()], turn.finish()?)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`Compute::kernel_memory`].
    pub fn kernel_memory<T: Pod>(&self, name: &str, contents: &[T]) -> Result<KernelMemory<T>> {
        Ok(self.0.compute.kernel_memory(name, contents)?)
    }

    /// Returns the device's support for the formats that the bridge knows, as [`format_support`]:
    /// which of them can be shared, and what shaders can do with them.
    pub fn format_support(&self) -> Vec<FormatSupport> {
        format_support(&self.0.compute)
    }

    /// Returns `true` if both belong to the same wgpu device, so that their frames may be submitted
    /// together.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0.shared, &other.0.shared)
    }

    pub(crate) fn splice(&self) -> Option<Splice> {
        self.0.shared.splice
    }

    pub(crate) fn compute(&self) -> &Compute {
        &self.0.compute
    }

    /// Returns the Vulkan format of a texture format in wgpu's Vulkan backend.
    pub(crate) fn format(&self, format: wgpu::TextureFormat) -> Result<ash::vk::Format> {
        // SAFETY: the guard is only read.
        let adapter = unsafe { self.0.shared.adapter.as_hal::<Vulkan>() };
        Ok(adapter.ok_or_else(|| not_vulkan(&self.0.shared.adapter))?.texture_format_as_raw(format))
    }

    /// Calls `f` and returns wgpu's errors during the call as a result.
    pub(crate) fn capture<R>(&self, call: &'static str, object: &str, f: impl FnOnce() -> R) -> Result<R> {
        capture(&self.0.shared.device, call, object, f)
    }
}

impl std::fmt::Debug for Bridge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Bridge").field(&self.0.compute).finish()
    }
}

fn not_vulkan(adapter: &wgpu::Adapter) -> Error {
    let info = adapter.get_info();
    Error::NotVulkan { adapter: info.name, backend: info.backend }
}
