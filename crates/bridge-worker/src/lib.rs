//! Computes frames for a renderer in another process. This crate uses CUDA, but not Vulkan.
//!
//! ```no_run
//! # #![allow(unsafe_code)]
//! use bridge_worker::cudarc::driver::{LaunchConfig, PushKernelArg};
//! use bridge_worker::cudarc::nvrtc::Ptx;
//! use bridge_worker::{Buffer, Work, Worker};
//!
//! /// The PTX contains `extern "C" __global__ void wave(float *heights,
//! /// unsigned int len, unsigned int step)`.
//! fn simulate(socket: &str, ptx: &str) -> Result<(), bridge_worker::Error> {
//!     let worker = Worker::connect(socket)?;
//!     let mut heights = worker.latest::<Buffer<f32>>("heights")?;
//!     // Loaded before the first frame; `None` on the CPU.
//!     let context = heights.stream().map(|stream| stream.context());
//!     let module = context.map(|context| context.load_module(Ptx::from_src(ptx)));
//!     let wave = module.transpose()?.map(|module| module.load_function("wave"));
//!     let wave = wave.transpose()?;
//!     for step in 0_u32.. {
//!         let mut turn = heights.begin()?;
//!         match (turn.work(), &wave) {
//!             (Work::Cuda(mut cuda), Some(wave)) => {
//!                 let len = cuda.resources.len() as u32;
//!                 let mut launch = cuda.stream.launch_builder(wave);
//!                 launch.arg(&mut cuda.resources).arg(&len).arg(&step);
//!                 // SAFETY: these are the kernel's parameters, and it writes
//!                 // `len` elements.
//!                 unsafe { launch.launch(LaunchConfig::for_num_elems(len)) }?;
//!             }
//!             (Work::Host(mut host), _) => host
//!                 .resources
//!                 .write_from(0, &vec![step as f32; host.resources.len()])?,
//!             _ => {}
//!         }
//!         turn.publish()?;
//!     }
//!     Ok(())
//! }
//! ```
//!
//! The renderer must be started first: [`Worker::connect`] fails at once if no process listens.
//! [`Worker::latest`] waits, with a timeout, for the renderer's offer, and [`LatestWriter::begin`]
//! for a slot that the renderer has freed. [`WriteTurn::publish`] hands the frame over without
//! waiting for the GPU. When the renderer's process ends, the next call returns
//! [`Error::PeerLost`]. Another stream then signals the values that this side's stream was still
//! waiting for, and the program can continue and connect to the next renderer.
//!
//! With [`Worker::exchange`], the two processes run in step, if both have set `trust`: the renderer
//! gets each frame once and in order, and the GPUs wait for each other. With
//! [`Worker::exchange_reader`], the renderer draws, and the worker gets each frame.
//!
//! # Kernels are loaded before the first frame
//! While a CUDA stream waits for the renderer, `cuModuleLoadData`, the first launch of a lazily
//! loaded kernel, `cuMemFree` and `cuCtxSynchronize` block. Without
//! [`trust`](bridge_ipc::Offer::trust) nothing waits for long; with it, load and launch every
//! kernel once before the first [`begin`](LatestWriter::begin). This crate frees memory on a
//! separate thread.
//!
//! # Trace
//! With `BRIDGE_TRACE=stderr`, or a path, which may be that of the renderer's trace, the worker
//! writes a JSON line for every connection, offer, frame and end, as [`trace_to`] does. The times
//! are comparable with those of the renderer's trace.
//!
//! # Trust
//! The renderer is a process of the same user, which the socket checks. Its messages are validated,
//! and the memory of a worker on the CPU is never a Rust slice, because the renderer can write it
//! at any time: [`HostBuffer`] copies in and out with atomic accesses. With CUDA, the driver cannot
//! check what a descriptor refers to: a renderer that lies about a size can make kernels of this
//! process fault, as kernels with bugs do.

// The items that some links refer to exist on Linux only.
#![cfg_attr(not(target_os = "linux"), allow(rustdoc::broken_intra_doc_links))]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod error;

#[cfg(target_os = "linux")]
mod device;
#[cfg(target_os = "linux")]
mod exchange;
#[cfg(target_os = "linux")]
mod host;
#[cfg(target_os = "linux")]
mod link;
#[cfg(target_os = "linux")]
mod resources;
#[cfg(target_os = "linux")]
mod shared;
#[cfg(target_os = "linux")]
mod side;
#[cfg(target_os = "linux")]
mod trace;
#[cfg(not(target_os = "linux"))]
mod unsupported;
#[cfg(target_os = "linux")]
mod worker;

pub use bridge_ipc;
pub use bridge_ipc::{Backend, Uuid};
pub use bridge_trace::{trace_off, trace_to};
pub use bytemuck;
pub use cuda_import;
pub use cuda_import::{Kernel, KernelModule, cudarc, half};
pub use error::{Error, Result};
#[cfg(target_os = "linux")]
pub use exchange::latest::reader::{LatestReader, ReadTurn};
#[cfg(target_os = "linux")]
pub use exchange::latest::writer::{CudaWork, HostWork, LatestWriter, Work, WriteTurn};
#[cfg(target_os = "linux")]
pub use exchange::read::{CudaRead, HostRead, Read};
#[cfg(target_os = "linux")]
pub use exchange::reader::{ExchangeReadTurn, ExchangeReader};
#[cfg(target_os = "linux")]
pub use exchange::writer::{ExchangeTurn, ExchangeWriter};
#[cfg(target_os = "linux")]
pub use host::{HostBuffer, HostImage, ReadOnly};
#[cfg(target_os = "linux")]
pub use resources::Resources;
#[cfg(target_os = "linux")]
pub use resources::element::{Buffer, Element, Image};
#[cfg(not(target_os = "linux"))]
pub use unsupported::Worker;
#[cfg(target_os = "linux")]
pub use worker::{Worker, WorkerInfo};

// Users may rely on these auto traits; the compiler checks them.
#[cfg(target_os = "linux")]
const _: () = {
    const fn shared<T: Send + Sync>() {}
    const fn of<R: Resources>() {
        shared::<LatestWriter<R>>();
        shared::<LatestReader<R>>();
        shared::<ExchangeWriter<R>>();
        shared::<ExchangeReader<R>>();
        shared::<WriteTurn<'_, R>>();
        shared::<ReadTurn<'_, R>>();
        shared::<ExchangeTurn<'_, R>>();
        shared::<ExchangeReadTurn<'_, R>>();
    }
    of::<Buffer<f32>>();
    of::<Image<f32>>();
    of::<(Buffer<f32>, Image<f32>)>();
    shared::<Work<'_, Buffer<f32>>>();
    shared::<CudaWork<'_, Image<f32>>>();
    shared::<HostWork<'_, Buffer<f32>>>();
    shared::<Read<'_, Buffer<f32>>>();
    shared::<CudaRead<'_, Image<f32>>>();
    shared::<HostRead<'_, Buffer<f32>>>();
    shared::<HostBuffer<'_, f32>>();
    shared::<HostImage<'_, f32>>();
    shared::<ReadOnly<HostBuffer<'_, f32>>>();
    shared::<Worker>();
    shared::<WorkerInfo<'_>>();
    shared::<Error>();
};
