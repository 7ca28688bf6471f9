//! Vulkan memory and semaphores that another API can import.
//!
//! The exporting side uses these types, in this order:
//!
//! 1. [`ExportDevice::open`] creates a Vulkan device that can export, or [`ExportDevice::adopt`]
//!    borrows an engine's own.
//! 2. [`Buffer::new`] and [`Image::new`] first query whether the driver can export exactly this
//!    buffer or image, and then allocate exportable memory. [`Semaphore::new`] does the same for a
//!    timeline. A [`Block`] is one allocation for many buffers.
//! 3. [`Buffer::export`] and [`Image::export`] return a new [`MemoryHandle`] on each call, and
//!    [`Semaphore::export`] a new [`OsHandle`]. Each comes with a descriptor of everything that the
//!    importer must repeat: allocation size, offset, dedicated, device UUID, and an image's shape.
//! 4. [`Handover`] and [`ImageHandover`] create the barriers that hand the contents over to the
//!    other API and back.
//!
//! ```no_run
//! use vk_export::{Buffer, BufferAccess, BufferInfo, ExportDevice, OpenInfo};
//!
//! # fn main() -> Result<(), vk_export::Error> {
//! let device = ExportDevice::open(&OpenInfo::default())?;
//! let vertices = Buffer::new(&device, &BufferInfo {
//!     name: "vertices",
//!     size: 16 << 20,
//!     usage: BufferAccess::VERTEX_INPUT.usage,
//!     ..BufferInfo::default()
//! })?;
//! let exported = vertices.export()?;
//! let size = exported.descriptor.allocation_size;
//! println!("{:?} of {size} bytes on {}", exported.handle, device.name());
//! # Ok(())
//! # }
//! ```
//!
//! # CUDA kernels in a command buffer
//!
//! NVIDIA's drivers can launch CUDA kernels from Vulkan command buffers. This needs no other API,
//! no semaphore, no exported memory and no context switch; a barrier orders a kernel and a draw. A
//! [`KernelModule`] is loaded from [`Ptx`], and a [`Kernel`] is recorded with a [`LaunchConfig`]
//! and its arguments: addresses of buffers ([`Buffer::device_address`]) and handles of images
//! ([`KernelSurface`], [`KernelTexture`]).
//!
//! ```no_run
//! use std::time::Duration;
//! use vk_export::ash::vk::{self, BufferUsageFlags as Usage};
//! use vk_export::{
//!     Buffer, BufferInfo, ExportDevice, KernelModule, LaunchConfig, OpenInfo,
//!     Placement, Ptx,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // An engine's own device, adopted with `CUDA_KERNEL_EXTENSIONS` among its
//! // extensions, works too.
//! let info = OpenInfo { cuda_kernels: true, ..OpenInfo::default() };
//! let device = ExportDevice::open(&info)?;
//! let ptx = Ptx::new(std::fs::read("saxpy.ptx")?)?;
//! // extern "C" __global__
//! // void saxpy(float *y, const float *x, float a, unsigned long long len)
//! let saxpy = KernelModule::new(&device, "saxpy", &ptx)?.kernel("saxpy")?;
//! let make = |name| Buffer::new(&device, &BufferInfo {
//!     name,
//!     size: 4 << 20,
//!     usage: Usage::STORAGE_BUFFER | Usage::SHADER_DEVICE_ADDRESS,
//!     placement: Placement::DeviceLocal,
//!     ..BufferInfo::default()
//! });
//! let (x, y) = (make("x")?, make("y")?);
//!
//! // In the memory layout of struct { float *y; const float *x; float a;
//! // unsigned long long len; }.
//! let mut args = vec![0; saxpy.entry().args_size()];
//! let address = |buffer: &Buffer| {
//!     buffer.device_address().unwrap_or_default().to_ne_bytes()
//! };
//! let (a, len) = (2.0f32.to_ne_bytes(), (1u64 << 20).to_ne_bytes());
//! let values: [&[u8]; 4] = [&address(&y), &address(&x), &a, &len];
//! for (param, value) in saxpy.entry().params().iter().zip(values) {
//!     args[param.offset..param.offset + param.size].copy_from_slice(value);
//! }
//! let threads = LaunchConfig::for_elements(1 << 20, 256);
//! let record = |commands: vk::CommandBuffer| {
//!     // SAFETY: recording outside of a render pass, on this device; the
//!     // buffers have 1 << 20 floats, and outlive the wait.
//!     unsafe { saxpy.record(commands, &threads, &args) }
//!     // Add a barrier from COMPUTE_SHADER to the use of `y`, and that use.
//! };
//! let (queue, limit) = (device.queue(), Duration::from_secs(1));
//! let mut recorded = Ok(());
//! // SAFETY: the recorded commands are valid, as above.
//! unsafe {
//!     device.run_once(queue, "saxpy", limit, |commands| {
//!         recorded = record(commands);
//!     })
//! }?;
//! recorded?;
//! # Ok(())
//! # }
//! ```
//!
//! This depends on `VK_NVX_binary_import` and `VK_NVX_image_view_handle`, which are experimental
//! and have no specification beyond their structures. NVIDIA's drivers for Linux and Windows have
//! supported them since 2020 (DLSS uses them), and no other driver does. Enable them with
//! [`OpenInfo::cuda_kernels`] or, on an engine's device, with [`CUDA_KERNEL_EXTENSIONS`]. The
//! driver validates almost nothing of a launch, so [`Kernel::check_launch`] does. Not supported in
//! a Vulkan queue, unlike on a CUDA stream: `trap`, `assert`, `malloc`, `printf`, clusters,
//! launches from the device, cubins.
//!
//! This crate calls no other API. The crate `bridge` implements the import and the synchronization
//! between the two sides.
//!
//! All types but [`LogHold`] are [`Send`] and [`Sync`]. Queues, which Vulkan requires to be
//! externally synchronized, are locked internally.
//!
//! # Compatibility
//! Enums, errors and reports that may gain variants or fields are `#[non_exhaustive]`: a `match`
//! needs a wildcard arm, and a pattern ends in `..`. Structs that a program fills in have public
//! fields and [`Default`]: end them in `..Default::default()`, so that a new field breaks nothing.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod buffer;
mod device;
mod error;
mod handle;
mod image;
mod kernel;
mod legacy;
mod logging;
mod memory;
mod report;
mod semaphore;

pub use ash;
pub use uuid::Uuid;

pub use buffer::access::BufferAccess;
pub use buffer::barrier::{Counterpart, Handover};
pub use buffer::block::{Block, BlockInfo, ExportedBlock};
pub use buffer::{Buffer, BufferInfo, ExportedBuffer};
pub use device::blocking::BlockingCommands;
pub use device::commands::Commands;
pub use device::one_time::OneTimeCommands;
pub use device::physical::PhysicalDeviceInfo;
pub use device::queue::{Queue, QueueKind};
pub use device::queue_lock::QueueLock;
pub use device::registry::AllocatedBytes;
pub use device::release::InUse;
pub use device::requirements::{
    CUDA_KERNEL_EXTENSIONS, EXPORT_EXTENSIONS, MINIMUM_API_VERSION, RequiredFeatures, required_device_extensions,
};
pub use device::requirements_of::{DeviceRequirements, OptionalKind, OptionalRequirement, requirements_for};
pub use device::validation::{IGNORED_MESSAGES, IgnoredMessage, ValidationMessage};
pub use device::{
    AdoptInfo, DeviceSelector, EnabledFeatures, ExportDevice, OpenInfo, RawHandles, Validation, requirements_for_raw,
};
pub use error::{Error, PtxRefusal, Requirement, Result};
pub use handle::handle_type::HandleType;
#[cfg(windows)]
pub use handle::nt::{KmtHandle, NtSharing};
pub use handle::{MemoryHandle, OsHandle};
pub use image::Image;
pub use image::access::ImageAccess;
pub use image::barrier::ImageHandover;
pub use image::descriptor::{ExportedImage, HostLayout, ImageDescriptor};
pub use image::format::is_ycbcr;
pub use image::info::{ImageInfo, ImageKind, mip_count};
pub use image::support::{ImageSupport, image_support};
pub use kernel::launch::LaunchConfig;
pub use kernel::module::{Kernel, KernelModule};
pub use kernel::ptx::{Ptx, PtxEntry, PtxParam};
pub use kernel::surface::KernelSurface;
pub use kernel::texture::{KernelTexture, TextureInfo};
pub use legacy::legacy_stages;
pub use logging::LogHold;
pub use memory::{MemoryDescriptor, Placement};
pub use report::{LayerReport, VulkanDeviceReport, VulkanReport, report};
pub use semaphore::{ExportedSemaphore, Semaphore, SemaphoreDescriptor, SemaphoreInfo, SemaphoreKind};

// Checks the crate documentation's statement about threads at compile time.
const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<ExportDevice>();
    shared::<Queue>();
    shared::<Buffer>();
    shared::<Block>();
    shared::<Image>();
    shared::<Semaphore>();
    shared::<Ptx>();
    shared::<KernelModule>();
    shared::<Kernel>();
    shared::<KernelSurface>();
    shared::<KernelTexture>();
    shared::<Handover>();
    shared::<ImageHandover>();
    shared::<ExportedBuffer>();
    shared::<ExportedBlock>();
    shared::<ExportedImage>();
    shared::<ExportedSemaphore>();
    shared::<PhysicalDeviceInfo>();
    shared::<Error>();
    shared::<MemoryHandle>();
    shared::<OneTimeCommands>();
    shared::<BlockingCommands>();
    shared::<BufferInfo<'_>>();
    shared::<BlockInfo<'_>>();
    shared::<ImageInfo<'_>>();
    shared::<SemaphoreInfo<'_>>();
    shared::<MemoryDescriptor>();
    shared::<ImageDescriptor>();
    shared::<SemaphoreDescriptor>();
    shared::<HostLayout>();
    shared::<ImageSupport>();
    shared::<OpenInfo<'_>>();
    shared::<AdoptInfo<'_>>();
    shared::<RawHandles>();
    shared::<InUse>();
    shared::<AllocatedBytes>();
    shared::<DeviceRequirements>();
    shared::<OptionalRequirement>();
    shared::<OptionalKind>();
    shared::<DeviceSelector>();
    shared::<EnabledFeatures>();
    shared::<RequiredFeatures>();
    shared::<Validation>();
    shared::<ValidationMessage>();
    shared::<IgnoredMessage>();
    shared::<Requirement>();
    shared::<BufferAccess>();
    shared::<ImageAccess>();
    shared::<Counterpart>();
    shared::<HandleType>();
    shared::<ImageKind>();
    shared::<Placement>();
    shared::<QueueKind>();
    shared::<SemaphoreKind>();
    shared::<VulkanReport>();
    shared::<VulkanDeviceReport>();
    shared::<LayerReport>();
    shared::<Box<dyn QueueLock>>();
    shared::<Commands>();
    shared::<LaunchConfig>();
    shared::<PtxEntry>();
    shared::<PtxParam>();
    shared::<PtxRefusal>();
    shared::<TextureInfo>();
    #[cfg(windows)]
    shared::<(KmtHandle, NtSharing<'_>)>();
};

/// Compiles the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
