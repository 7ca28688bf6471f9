//! Imports memory and semaphores of another API into CUDA: the CUDA half of sharing with a graphics
//! API.
//!
//! ```no_run
//! # #![allow(unsafe_code)]
//! use cuda_import::cudarc::driver::{CudaFunction, LaunchConfig, PushKernelArg};
//! use cuda_import::{
//!     BufferMappingInfo, CudaDevice, ImportedMemory, ImportedSemaphore,
//!     MappedBuffer,
//! };
//! use cuda_import::{MemoryImportInfo, OsHandle, SemaphoreKind};
//!
//! /// The exported objects and their parameters.
//! struct Exported {
//!     device: cuda_import::Uuid,
//!     memory: OsHandle,
//!     allocation_size: u64,
//!     dedicated: bool,
//!     timeline: OsHandle,
//! }
//!
//! fn one_frame(
//!     exported: Exported,
//!     kernel: &CudaFunction,
//! ) -> Result<(), cuda_import::Error> {
//!     println!("{}", cuda_import::report()?.version);
//!
//!     // The same GPU on both sides, by UUID.
//!     let device = CudaDevice::by_uuid(exported.device)?;
//!     let stream = device.new_stream()?;
//!
//!     let info = MemoryImportInfo {
//!         name: "particles",
//!         allocation_size: exported.allocation_size,
//!         dedicated: exported.dedicated,
//!         ..MemoryImportInfo::default()
//!     };
//!     // SAFETY: the exporter describes its own allocation and semaphore.
//!     let memory =
//!         unsafe { ImportedMemory::import(&device, exported.memory, &info) }?;
//!     // SAFETY: as above.
//!     let timeline = unsafe {
//!         ImportedSemaphore::import(
//!             &device,
//!             exported.timeline,
//!             SemaphoreKind::Timeline,
//!             "frames",
//!         )
//!     }?;
//!     let place = BufferMappingInfo { offset: 0, len: 1_000_000 };
//!     let mut particles =
//!         MappedBuffer::<[f32; 4]>::map(&memory, &place, &stream)?;
//!
//!     // SAFETY: the exporting side has submitted the signal of 1; the timeline
//!     // outlives `synchronize` below.
//!     unsafe { cuda_import::wait_one(&stream, &timeline, 1) }?;
//!     let mut view = particles.view_mut();
//!     let mut launch = stream.launch_builder(kernel);
//!     launch.arg(&mut view);
//!     // SAFETY: the kernel takes one pointer to 1 000 000 elements of 16 bytes.
//!     let launched =
//!         unsafe { launch.launch(LaunchConfig::for_num_elems(1_000_000)) };
//!     launched.expect("launch");
//!     particles.join_foreign_work()?;
//!     // SAFETY: 2 is greater than every value signaled before.
//!     unsafe { cuda_import::signal_one(&stream, &timeline, 2) }?;
//!     stream.synchronize().expect("synchronize");
//!     Ok(())
//! }
//! ```
//!
//! | module | contents |
//! |---|---|
//! | `device` | devices by UUID, or adopted with a program's own context |
//! | `device/report` | a report of the driver and its devices, which never panics |
//! | `handle` | OS handles and their ownership |
//! | `memory`, `origin` | imported allocations, and how each was imported |
//! | `peer` | memory of one GPU for kernels of others, and access between GPUs |
//! | `buffer`, `view`, `linear` | typed arrays in imported memory, and their views |
//! | `block` | many typed arrays in one allocation, under one mapping |
//! | `device_memory` | memory that CUDA allocates, filled without blocking |
//! | `mapping`, `backing` | the lifetime of a mapping, for buffers and images |
//! | `image`, `image/{view,rows,texture}` | images in imported memory, their views and objects |
//! | `image/copy` | ordering of copies from and to images, and waits for them |
//! | `image/{texel,info,limits,problem}` | texel types, image descriptions and their validation |
//! | `image/objects` | a cache of texture and surface objects |
//! | `leak` | counters of objects that are leaked deliberately |
//! | `private_context` | context objects of this crate, in which cudarc records errors |
//! | `order`, `device_orders`, `foreign_streams`, `spare_events` | order of streams per object |
//! | `refusal`, `identity` | streams that cannot be used, and comparison of streams |
//! | `event`, `poll` | recorded events, waits on the host |
//! | `reaper` | driver calls that may block, made on one thread per context |
//! | `logging` | calls to the program's logger, which catch its panics |
//! | `semaphore`, `stream` | imported semaphores, creating streams, waits and signals |
//! | `signal_and_record` | a signal and the event of its end |
//! | `private_stream` | a private stream, for work that must not wait for the program's streams |
//! | `kernel` | kernels from PTX, with the compiler's log, and launches |
//! | `graph`, `capture` | a frame as a CUDA graph, and buffers while one is captured |
//! | `error`, `call`, `code`, `version` | errors; the driver's codes and versions |
//! | `sys` | the driver's entry points |
//!
//! A feature selects the CUDA version of the bindings: `cuda-12000` by default, which works with
//! the widest range of drivers. Exactly one must be enabled. [`cudarc`] is re-exported, so that
//! programs use the same version. The feature `f16` lets cudarc copy and pass [`half::f16`] and
//! [`half::bf16`].
//!
//! # Compatibility
//! Enums, errors and reports that may gain variants or fields are `#[non_exhaustive]`: a `match`
//! needs a wildcard arm, and a pattern ends in `..`. Structs that a program fills in have public
//! fields and [`Default`]: end them in `..Default::default()`, so that a new field breaks nothing.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod buffer;
mod capture;
mod device;
mod error;
mod format;
mod handle;
mod identity;
mod image;
mod kernel;
mod leak;
mod logging;
mod memory;
mod range;
mod reaper;
mod semaphore;
mod stream;
mod sys;

pub use buffer::linear::{DeviceSink, DeviceSource};
pub use buffer::view::{DeviceView, DeviceViewMut};
pub use buffer::{BufferMappingInfo, MappedBuffer};
pub use cudarc;
pub use device::CudaDevice;
pub use device::peer::{PeerAccess, peer_access};
pub use device::report::{ComputeMode, CudaDeviceReport, CudaReport, report};
pub use error::image::ImageProblem;
pub use error::{Error, PresentDevice, Result};
pub use format::kind::ImageKind;
pub use format::texel::{ChannelType, Texel, TexelFormat};
pub use half;
pub use handle::{ImportHandle, OsHandle};
#[cfg(windows)]
pub use handle::{KmtHandle, NtName};
pub use image::MappedImage;
pub use image::info::ImageMappingInfo;
pub use image::rows::ImageRows;
pub use image::texture::{AddressMode, Filter, ReadMode, Surface, Texture, TextureInfo};
pub use image::view::{ImageView, ImageViewMut};
pub use kernel::{Kernel, KernelModule};
pub use leak::leaks;
pub use logging::LogHold;
pub use memory::block::MappedBlock;
pub use memory::device_memory::DeviceMemory;
pub use memory::peer::PEER_GRANULARITY;
pub use memory::{ImportedMemory, MemoryImportInfo};
pub use semaphore::{ImportedSemaphore, SemaphoreKind};
pub use stream::graph::{CaptureError, StreamGraph};
pub use stream::order::any_foreign_streams;
pub use stream::private_stream::signal_on_private_stream;
pub use stream::refusal::check_stream;
pub use stream::signal_and_record::signal_and_record;
pub use stream::{SemaphorePoint, StreamEvent, query, record_event, signal, signal_one, wait, wait_one};
pub use sys::{DriverCode, DriverVersion, Owner, Restoring};
pub use uuid::Uuid;

/// Checks at compile time that all public types can be used from any thread.
const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<CudaDevice>();
    shared::<ImportedMemory>();
    shared::<ImportedSemaphore>();
    shared::<MappedBuffer<f32>>();
    shared::<MappedBlock>();
    shared::<DeviceMemory>();
    shared::<DeviceView<'_, f32>>();
    shared::<DeviceViewMut<'_, f32>>();
    shared::<MappedImage<f32>>();
    shared::<ImageView<'_, f32>>();
    shared::<ImageViewMut<'_, f32>>();
    shared::<Texture<'_>>();
    shared::<Surface<'_>>();
    shared::<ImageRows<'_, f32>>();
    shared::<SemaphorePoint<'_>>();
    shared::<StreamEvent>();
    shared::<StreamGraph>();
    shared::<KernelModule>();
    shared::<Kernel>();
    shared::<Error>();
    shared::<ImportHandle>();
    shared::<DriverCode>();
    shared::<DriverVersion>();
    shared::<CudaReport>();
    shared::<CudaDeviceReport>();
    shared::<ComputeMode>();
    shared::<PresentDevice>();
    shared::<PeerAccess>();
    shared::<MemoryImportInfo<'_>>();
    shared::<BufferMappingInfo>();
    shared::<ImageMappingInfo>();
    shared::<ImageKind>();
    shared::<ImageProblem>();
    shared::<TexelFormat>();
    shared::<ChannelType>();
    shared::<TextureInfo>();
    shared::<AddressMode>();
    shared::<Filter>();
    shared::<ReadMode>();
    shared::<SemaphoreKind>();
    shared::<CaptureError<Error>>();
    #[cfg(windows)]
    shared::<(KmtHandle, NtName)>();
};

/// Checks at compile time that cudarc copies 16-bit floats.
#[cfg(feature = "f16")]
const _: () = {
    const fn copied<T: cudarc::driver::DeviceRepr>() {}
    copied::<half::f16>();
    copied::<half::bf16>();
};

/// Compiles the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
