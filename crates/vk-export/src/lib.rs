//! Vulkan memory and semaphores that another API can import.
//!
//! One frame of the exporting side, in the order in which the modules are met:
//!
//! 1. [`ExportDevice::open`] makes a Vulkan device that can export, or [`ExportDevice::adopt`] borrows an engine's own.
//! 2. [`Buffer::new`] and [`Image::new`] allocate exportable memory and ask the driver first whether exactly this buffer
//!    or image can leave; [`Semaphore::new`] does the same for a timeline. A [`Block`] is one allocation for many buffers.
//! 3. [`Buffer::export`] and [`Image::export`] give a fresh [`MemoryHandle`] each time, [`Semaphore::export`] a fresh
//!    [`OsHandle`], with a descriptor of all that an importer must repeat: allocation size, offset, dedicated, device UUID,
//!    and an image's shape.
//! 4. [`Handover`] and [`ImageHandover`] make the barriers which pass the contents to the other API and back.
//!
//! ```no_run
//! use vk_export::{Buffer, BufferInfo, Consumer, ExportDevice, OpenInfo, Placement};
//!
//! # fn main() -> Result<(), vk_export::Error> {
//! let device = ExportDevice::open(&OpenInfo::default())?;
//! let vertices = Buffer::new(&device, &BufferInfo {
//!     name: "vertices",
//!     size: 16 << 20,
//!     usage: Consumer::VERTEX_INPUT.usage,
//!     placement: Placement::Exportable,
//! })?;
//! let exported = vertices.export()?;
//! println!("{:?} of {} bytes on {}", exported.handle, exported.descriptor.allocation_size, device.name());
//! # Ok(())
//! # }
//! ```
//!
//! The crate knows no other API: who imports, and what the two sides then promise each other, is the business of the
//! crate `bridge`.
//!
//! Everything here is [`Send`] and [`Sync`]; what Vulkan wants externally synchronized (the queue, the allocator) is
//! locked inside.

mod barrier;
mod block;
mod buffer;
mod consumer;
mod device;
mod error;
#[cfg(unix)]
mod fd;
mod format;
mod handle;
mod image;
mod image_barrier;
mod image_check;
mod image_consumer;
mod image_info;
mod image_support;
mod image_view;
mod instance;
mod legacy;
mod local;
mod memory;
#[cfg(windows)]
mod nt;
mod physical;
mod queue;
mod raw_buffer;
mod report;
mod requirements;
mod semaphore;
mod synchronization2;
mod validation;

// What differs between operating systems, under one name.
#[cfg(unix)]
use fd as os;
#[cfg(windows)]
use nt as os;

pub use ash;
pub use gpu_allocator::MemoryLocation;
pub use uuid::Uuid;

pub use barrier::{Handover, Partner};
pub use block::{Block, BlockInfo, ExportedBlock};
pub use buffer::{Buffer, BufferInfo, ExportedBuffer};
pub use consumer::Consumer;
pub use device::{AdoptInfo, DeviceSelector, EnabledFeatures, ExportDevice, OpenInfo, Validation};
pub use error::{Error, Result};
pub use handle::{HandleType, MemoryHandle, OsHandle};
pub use image::{ExportedImage, HostLayout, Image, ImageDescriptor};
pub use image_barrier::ImageHandover;
pub use image_consumer::ImageConsumer;
pub use image_info::{ImageInfo, ImageKind, mip_count};
pub use image_support::{ImageSupport, image_support};
pub use legacy::{LegacyBarrier, LegacyImageBarrier, legacy_stages};
pub use local::{LocalBuffer, LocalImage, LocalImageInfo};
pub use memory::{MemoryDescriptor, Placement};
#[cfg(windows)]
pub use nt::{KmtHandle, NtSharing};
pub use physical::PhysicalDeviceInfo;
pub use queue::{Queue, QueueKind};
pub use report::{DeviceReport, LayerReport, VulkanReport, report};
pub use requirements::{
    EXPORT_EXTENSIONS, MINIMUM_API_VERSION, RequiredFeatures, Requirement, required_device_extensions,
};
pub use semaphore::{ExportedSemaphore, Semaphore, SemaphoreDescriptor, SemaphoreInfo, SemaphoreKind};
pub use validation::{SILENCED, Silenced, ValidationMessage};
