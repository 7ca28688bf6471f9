//! Shares buffers and images between CUDA and Vulkan without copies. In every frame, one side
//! writes a resource, the other side reads it, and the GPU orders the two accesses. The host does
//! not wait, and with the safe API of these crates the order cannot be wrong.
//!
//! ```no_run
//! use bridge::{Backend, BufferAccess, BufferSpec, Compute, Exchange};
//! use bridge::{ExchangeInfo, LaunchConfig, OpenInfo, RenderTurn, TwinSlice};
//! # use bridge::ash::vk;
//!
//! # #[allow(unsafe_code)]
//! # fn frames(
//! #     ptx: &str,
//! #     record: impl Fn(&RenderTurn<BufferSpec<[f32; 4]>>) -> vk::CommandBuffer,
//! # ) -> Result<(), Box<dyn std::error::Error>> {
//! // A GPU that CUDA sees, if there is one; otherwise the CPU computes.
//! let compute = Compute::open(&OpenInfo::default(), Backend::Auto)?;
//! println!("{}: {}", compute.backend(), compute.reason());
//! // The CPU runs the kernel's twin.
//! let kernel = compute
//!     .load("vertices", ptx)?
//!     .with_twin::<(TwinSlice<[f32; 4]>,)>("wave", |_, (vertices,)| {
//!         vertices.fill([1.0; 4]);
//!     })?
//!     .kernel("wave")?;
//! let info = ExchangeInfo { name: "vertices", ..Default::default() };
//! let accesses = BufferAccess::VERTEX_INPUT;
//! let vertices = BufferSpec::<[f32; 4]>::new(1_000_000, accesses);
//! let mut exchange = Exchange::new(&compute, &info, vertices)?;
//! for _ in 0..100 {
//!     // The stream waits for the slot; the host does not.
//!     let mut turn = exchange.begin()?;
//!     let work = turn.work().kernels()?;
//!     let config = LaunchConfig::for_elements(1_000_000, 256);
//!     // SAFETY: the kernel takes one pointer to a million float4.
//!     unsafe { work.launch(&kernel, &config, (work.resources,)) }?;
//!     // The stream signals, and the slot is Vulkan's.
//!     let turn = turn.finish()?;
//!     // Records turn.record_acquire, draws with turn.resources().as_raw(),
//!     // and turn.record_release.
//!     let commands = record(&turn);
//!     // Waits for the compute side, and signals it afterwards.
//!     // SAFETY: the commands use the buffer only between the turn's two
//!     // barriers, and live until the returned point is reached.
//!     unsafe { turn.submit(&[commands]) }?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! - Pair the two sides: [`Compute`], [`Backend`]
//! - Share resources over several frames in flight: [`Exchange`], [`BufferSpec`], [`ImageSpec`],
//!   [`Resources`]
//! - Find out which image formats a device shares: [`format_support`]
//! - Let Vulkan begin each frame, and CUDA process it: [`Exchange::render_first`]
//! - Let both sides run at independent rates: [`Exchange::latest`], [`LatestWriter`],
//!   [`LatestReader`]
//! - Draw the results of another process: `Listener` (Linux, feature `remote`). The renderer
//!   survives a crash of the worker, or, with mutual trust, both run in step.
//! - Grow buffers, or resize images, while frames are in flight: [`Exchange::grow`],
//!   [`Exchange::resize`], [`Exchange::replace`]
//! - Create many buffers efficiently: [`SharedPool`]
//! - Compute and draw one frame: [`ComputeTurn`], [`RenderTurn`]
//! - Launch a frame's kernels as one CUDA graph: [`FrameGraph`]
//! - Load and launch kernels, on a stream or in the Vulkan queue: [`Compute::load`],
//!   [`Work::kernels`], [`KernelWork`]
//! - Keep state for kernels in memory that is not shared: [`Compute::kernel_memory`],
//!   [`KernelMemory`]
//! - Run the twins of kernels, functions in Rust, on the CPU: [`KernelModule::with_twin`]
//! - Use cudarc (launches, copies, libraries): [`CudaWork`], [`Compute::cuda`]
//! - Compute on other GPUs than the one that draws: [`Compute::on_peer`], [`Compute::group`]
//! - Add a frame to an engine's own submission: [`RenderTurn::lend`], [`SubmitParts`]
//! - Use an engine's device: [`AdoptInfo`], [`requirements_for`], [`ExportDevice::try_release`],
//!   `docs/embedding.md` in the repository
//! - Wait on the host: [`TimelinePoint`]
//! - Try, test or measure one frame: [`RenderTurn::run_once`], [`RenderTurn::read_back`]
//! - Keep the handles of a slot valid beyond its exchange: [`Lease`]
//! - List live objects, and trace events: [`LiveObjects`], [`trace_to`]
//!
//! # Compute sides
//! [`Backend::Cuda`] is a CUDA stream: kernels, libraries, graphs, copies. [`Backend::Inline`]
//! records the program's own kernels into the Vulkan queue, with barriers in place of semaphores
//! and context switches; it depends on an experimental extension of NVIDIA's drivers.
//! [`Backend::Host`] runs closures on the CPU. `docs/kernels.md` in the repository compares the
//! three.
//!
//! # The source
//! To follow one frame, read `exchange` -> `exchange/turn/compute` -> `exchange/turn/render` ->
//! `timeline`; to follow the setup, read `compute` -> `compute/pair` -> `buffer/shared` ->
//! `compute/side` -> `compute/import`.
//!
//! # Log
//! Messages go to the `log` crate: a warning if frames are computed on the CPU because there is no
//! CUDA, and errors that no call can return. A program without a logger does not see them.
//!
//! # Threads
//! Turns own their state, so a frame may be computed on one thread and rendered on another; all
//! types are [`Send`]. An exchange is used by one thread at a time (`begin` takes `&mut self`), a
//! latest exchange by two: one has the writer, the other has the reader.
//!
//! # Compatibility
//! Enums, errors and reports that may gain variants and fields are `#[non_exhaustive]`: a `match`
//! on [`Work`] needs a wildcard arm, and a struct pattern ends in `..`. Structs that a program
//! fills in, such as [`ExchangeInfo`] and [`OpenInfo`], have public fields and [`Default`]: end
//! them with `..Default::default()`, so that new fields are compatible. [`AdoptInfo`] and
//! [`LaunchConfig`] are created with `new`.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod adapter;
mod backend;
mod barriers;
mod buffer;
mod compute;
mod error;
mod exchange;
mod host_image;
mod image;
mod kernel;
mod observe;
mod pool;
#[cfg(all(target_os = "linux", feature = "remote"))]
mod remote;
mod resources;
mod sharing;
mod signaler;
mod staging;
#[cfg(all(test, target_os = "linux", feature = "remote"))]
mod test_device;
mod timeline;
mod tuples;

#[cfg(all(target_os = "linux", feature = "remote"))]
pub use bridge_ipc;
pub use bytemuck;
pub use cuda_import;
pub use vk_export;
pub use vk_export::ash;

// Types of the two halves that programs use directly.
pub use cuda_import::{
    AddressMode, CudaDevice, DeviceView, DeviceViewMut, Filter, ImageRows, ImageView, ImageViewMut, ReadMode, Surface,
    Texel, TexelFormat, Texture, TextureInfo, cudarc, half,
};
pub use vk_export::{
    AdoptInfo, AllocatedBytes, DeviceRequirements, DeviceSelector, EnabledFeatures, InUse, Queue, QueueLock,
    RawHandles, RequiredFeatures, Uuid, Validation, required_device_extensions, requirements_for, requirements_for_raw,
};
pub use vk_export::{
    BufferAccess, ExportDevice, Handover, ImageAccess, ImageHandover, ImageKind, LaunchConfig, OpenInfo, Ptx, PtxEntry,
    QueueKind,
};

pub use adapter::AdapterId;
pub use backend::Backend;
pub use bridge_trace::{trace_off, trace_to};
pub use buffer::render::RenderBuffer;
pub use buffer::shared::SharedBuffer;
pub use buffer::spec::BufferSpec;
pub use compute::Compute;
pub use compute::cuda::CudaCompute;
pub use error::{Error, RecordError, Result, Stage};
#[cfg(all(target_os = "linux", feature = "remote"))]
pub use exchange::RenderFirstRemote;
pub use exchange::submit::parts::{LegacySubmitParts, SubmitParts};
pub use exchange::{
    ComputeFirst, ComputeRead, ComputeTurn, ComputeWrite, CudaPart, CudaWork, Direction, Exchange, ExchangeInfo,
    FrameGraph, HostWork, InitialTurn, KernelWork, LatestInfo, LatestReader, LatestWriter, Lease, Lendable, LentLatest,
    LentTurn, Newest, RenderFirst, RenderRead, RenderTurn, RenderWrite, SubmitInfo, Work,
};
pub use host_image::read::{HostImage, HostPlane};
pub use host_image::{HostImageMut, HostPlaneMut};
pub use image::format::{FORMATS, FormatInfo, FormatSupport, format_info, format_support};
pub use image::render::RenderImage;
pub use image::shared::SharedImage;
pub use image::spec::ImageSpec;
pub use kernel::args::{KernelArg, KernelArgs};
pub use kernel::buffer::KernelBuffer;
pub use kernel::image::{KernelImage, KernelRows, KernelSurface, KernelTexture};
pub use kernel::memory::KernelMemory;
pub use kernel::module::{Kernel, KernelModule};
pub use kernel::twin::{TwinArg, TwinArgs, TwinImage, TwinSlice};
pub use observe::live::LiveObjects;
pub use pool::{PoolReport, SharedPool, SharedPoolInfo};
#[cfg(all(target_os = "linux", feature = "remote"))]
pub use remote::{
    AcceptInfo, Listener, ListenerInfo, Remote, RemoteExchangeReader, RemoteExchangeWriter, RemoteLatestReader,
    RemoteLatestWriter,
};
pub use resources::Resources;
pub use resources::many::PerElement;
pub use signaler::Signaler;
pub use timeline::TimelinePoint;

/// Checks that all public types are [`Send`] and [`Sync`]. Functions that only one thread may call
/// at a time take `&mut self`.
const _: () = {
    const fn shared<T: Send + Sync>() {}
    const fn of<R: Resources, D: Direction>() {
        shared::<Exchange<R, D>>();
        shared::<ComputeTurn<R, D>>();
        shared::<RenderTurn<R, D>>();
        shared::<LentTurn<R, D>>();
        shared::<InitialTurn<R>>();
        shared::<FrameGraph<R>>();
        shared::<LatestWriter<R, D>>();
        shared::<LatestReader<R, D>>();
        shared::<ComputeWrite<R>>();
        shared::<ComputeRead<R>>();
        shared::<LentLatest<RenderWrite<R>>>();
        shared::<LentLatest<RenderRead<R>>>();
    }
    of::<BufferSpec<f32>, ComputeFirst>();
    of::<BufferSpec<f32>, RenderFirst>();
    of::<ImageSpec<f32>, ComputeFirst>();
    of::<(BufferSpec<f32>, Vec<ImageSpec<f32>>), RenderFirst>();
    shared::<Work<'_, BufferSpec<f32>>>();
    shared::<CudaWork<'_, ImageSpec<f32>>>();
    shared::<CudaPart<'_, f32>>();
    shared::<HostWork<'_, BufferSpec<f32>>>();
    shared::<KernelWork<'_, (BufferSpec<f32>, ImageSpec<f32>)>>();
    shared::<KernelModule>();
    shared::<Kernel>();
    shared::<KernelMemory<f32>>();
    shared::<KernelBuffer<'_, f32>>();
    shared::<KernelImage<'_, f32>>();
    shared::<KernelSurface<'_>>();
    shared::<KernelRows<'_, f32>>();
    shared::<KernelTexture<'_>>();
    shared::<(TwinSlice<f32>, TwinImage<f32>)>();
    shared::<Compute>();
    shared::<CudaCompute>();
    shared::<Backend>();
    shared::<AdapterId>();
    shared::<SharedPool>();
    shared::<SharedPoolInfo<'_>>();
    shared::<PoolReport>();
    shared::<SharedBuffer<f32>>();
    shared::<SharedImage<f32>>();
    shared::<RenderBuffer<'_, f32>>();
    shared::<RenderImage<'_>>();
    shared::<HostImage<'_, f32>>();
    shared::<HostImageMut<'_, f32>>();
    shared::<HostPlane<'_, f32>>();
    shared::<HostPlaneMut<'_, f32>>();
    shared::<PerElement<'_, BufferSpec<f32>, ()>>();
    shared::<ExchangeInfo<'_>>();
    shared::<SubmitInfo<'_>>();
    shared::<SubmitParts>();
    shared::<LatestInfo<'_>>();
    shared::<Newest>();
    shared::<LegacySubmitParts>();
    shared::<TimelinePoint>();
    shared::<Signaler>();
    shared::<Stage>();
    shared::<Error>();
    shared::<FormatInfo>();
    shared::<FormatSupport>();
    shared::<Lease>();
    shared::<LiveObjects>();
};

/// The same check for exchanges with other processes.
#[cfg(all(target_os = "linux", feature = "remote"))]
const _: () = {
    const fn shared<T: Send + Sync>() {}
    const fn of<R: Resources>() {
        shared::<RemoteExchangeReader<R>>();
        shared::<RemoteExchangeWriter<R>>();
        shared::<RemoteLatestReader<R>>();
        shared::<RemoteLatestWriter<R>>();
        shared::<RenderTurn<R, RenderFirstRemote>>();
        shared::<LentTurn<R, RenderFirstRemote>>();
    }
    of::<BufferSpec<f32>>();
    of::<(BufferSpec<f32>, Vec<ImageSpec<f32>>)>();
    shared::<Remote>();
    shared::<Listener>();
    shared::<ListenerInfo>();
    shared::<AcceptInfo>();
};

/// The README's example, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
