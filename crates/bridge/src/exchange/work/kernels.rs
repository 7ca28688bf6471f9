//! [`KernelWork`], which launches kernels in a frame.
#![allow(unsafe_code)] // Launches.

use std::ffi::c_void;
use std::sync::Arc;

use cuda_import::cudarc::driver::CudaStream;
use smallvec::SmallVec;
use vk_export::ash::vk;
use vk_export::{LaunchConfig, PtxEntry, PtxParam};

use crate::compute::host::stream::HostStream;
use crate::compute::inline::stream::InlineStream;
use crate::error::{Error, Result};
#[cfg(doc)]
use crate::kernel::args::KernelArg;
use crate::kernel::args::{HostArgs, KernelArgs, MAX_ARGS, Packed, launch_error};
use crate::kernel::module::{Function, Kernel, kernel_for_context};
use crate::kernel::site::Site;
use crate::kernel::twin::Twin;
use crate::resources::Resources;

/// Launches the kernels of a frame: on a CUDA stream, in a command buffer of the Vulkan queue, or
/// as their twins on the CPU. Returned by [`Work::kernels`](crate::Work::kernels), for kernels that
/// [`Compute::load`](crate::Compute::load) has loaded.
///
/// Launches run one after the other, in the order of the calls, even across turns of the same
/// [`Compute`](crate::Compute); a kernel sees what earlier kernels wrote. With
/// [`Backend::Inline`](crate::Backend::Inline) they are submitted with the next submission of any
/// exchange of the `Compute`, or when the host waits for one of its points.
#[doc = concat!("\n# Examples\n```\n", include_str!("../../../docs/kernel_work.rs"), "```")]
pub struct KernelWork<'t, R: Resources> {
    /// The resources, as kernel arguments.
    pub resources: R::Kernel<'t>,
    target: Target<'t, R>,
}

/// Target of launches.
enum Target<'t, R: Resources> {
    /// `home` is the compute stream. `stream` differs from it while a graph is captured, which is
    /// launched on `home`.
    Stream {
        stream: &'t Arc<CudaStream>,
        home: &'t Arc<CudaStream>,
    },
    Queue(&'t InlineStream),
    /// The slots are kept alive until the launches have run.
    Host(&'t HostStream, &'t Arc<[R::HostSlot]>),
}

impl<'t, R: Resources> KernelWork<'t, R> {
    pub(crate) fn on_stream(stream: &'t Arc<CudaStream>, home: &'t Arc<CudaStream>, resources: R::Kernel<'t>) -> Self {
        Self { resources, target: Target::Stream { stream, home } }
    }

    pub(crate) fn on_queue(stream: &'t InlineStream, resources: R::Kernel<'t>) -> Self {
        Self { resources, target: Target::Queue(stream) }
    }

    pub(crate) fn on_host(stream: &'t HostStream, slots: &'t Arc<[R::HostSlot]>, resources: R::Kernel<'t>) -> Self {
        Self { resources, target: Target::Host(stream, slots) }
    }

    /// Launches a kernel after the work enqueued so far. Does not block.
    ///
    /// `args` is a tuple in the order of the kernel's parameters: numbers, [`Pod`](bytemuck::Pod)
    /// structures, [`resources`](Self::resources), and memory of
    /// [`Compute::kernel_memory`](crate::Compute::kernel_memory); see [`KernelArg`]. They are
    /// copied before the call returns. `config` is this crate's [`LaunchConfig`], not cudarc's.
    ///
    /// # Errors
    /// [`Error::Launch`] if the number or size of the arguments does not match the kernel's
    /// parameters, if [`KernelMemory`](crate::KernelMemory) belongs to another
    /// [`Compute`](crate::Compute) or another GPU, or if the grid, block or amount of shared memory
    /// is too large or zero; nothing is launched in these cases. In command buffers all of this is
    /// checked before the driver is called; on a stream, the driver checks grid, block and shared
    /// memory. On the CPU, [`Error::Launch`] also if the argument types do not match those of the
    /// twin, or if the same memory is passed twice. [`Error::InvalidArgument`] for a kernel that
    /// was loaded for another kind of compute side; otherwise the error of the failed driver call.
    ///
    /// # Safety
    /// - The arguments have the types and meaning of the kernel's parameters (only sizes are
    ///   checked), and the kernel stays inside the memory that they point to.
    /// - The kernel only uses shared resources of open turns of exchanges of the same
    ///   [`Compute`](crate::Compute). A [latest](crate::Exchange::latest) exchange counts as a
    ///   `Compute` of its own, since it has its own stream.
    /// - On a CUDA stream, the kernel's module lives until the kernel has run: the program keeps
    ///   the `Kernel` or the `KernelModule`. In command buffers and on the CPU the launch keeps it.
    /// - On a CUDA stream, the program is not capturing the stream (`CudaStream::begin_capture`),
    ///   which is not checked: the kernel would become part of its graph, and run at any time or
    ///   never.
    /// - Memory that the kernel accesses in other ways lives until the kernel has run. Launches
    ///   keep [`KernelMemory`](crate::KernelMemory) arguments alive.
    /// - In command buffers: the kernel terminates, accesses nothing outside a surface unless it
    ///   uses `cudaBoundaryModeZero` or `cudaBoundaryModeClamp`, and a multiprocessor has enough
    ///   registers for one block, which is always the case for up to 256 threads; for more threads,
    ///   compile the kernel with `__launch_bounds__`. See [`vk_export::Kernel::record`].
    #[doc(alias = "cuLaunchKernel")]
    #[doc(alias = "vkCmdCuLaunchKernelNVX")]
    pub unsafe fn launch<A: KernelArgs>(&self, kernel: &Kernel, config: &LaunchConfig, args: A) -> Result<()> {
        let entry = kernel.entry();
        let site = match &self.target {
            Target::Stream { home, .. } => Site::Cuda(home),
            Target::Queue(stream) => Site::Queue(stream),
            Target::Host(stream, _) => Site::Host(stream),
        };
        let packed = Packed::new(entry, site, &args)?;
        let another_side = || {
            Error::invalid(
                format!("kernel \"{}\"", entry.name()),
                "it was loaded for another compute side; load it with this exchange's `Compute`",
            )
        };
        match (&self.target, kernel.function()) {
            (Target::Stream { stream, .. }, Function::Stream(functions)) => {
                let function = kernel_for_context(functions, stream.context()).ok_or_else(another_side)?;
                // SAFETY: the caller upholds the contract.
                unsafe { launch_on_stream(stream, function, entry, config, &packed) }
            }
            // The handle of another device's kernel would be invalid on this device.
            (Target::Queue(stream), Function::Queue(function))
                if function.module().device().is_same(stream.device()) =>
            {
                // SAFETY: the caller upholds the contract.
                unsafe { launch_in_queue(stream, function, kernel, config, &packed) }
            }
            (Target::Host(stream, slots), Function::Host(twin)) => {
                let host = args.host_args(entry.params());
                // SAFETY: the caller upholds the contract.
                unsafe { launch_twin(stream, slots, twin, entry, config, host, packed) }
            }
            _ => Err(another_side()),
        }
    }

    /// Records the program's own commands in a command buffer of the Vulkan queue, after the work
    /// so far.
    ///
    /// No lock is held while the closure runs: other threads can wait for points with their
    /// timeouts, and can record and submit their own work, which runs before or after it. Each call
    /// begins a command buffer, so recording several commands in one call costs less than several
    /// calls.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] on the CPU and on CUDA streams (use
    /// [`CudaWork::stream`](crate::CudaWork::stream) there); otherwise the error of the failed
    /// driver call. Inside the closure, enqueuing other work on the compute side, or waiting for
    /// it, returns [`Error::InvalidArgument`] too.
    ///
    /// # Safety
    /// - The commands satisfy their Valid Usage, outside a render pass, on the compute side's
    ///   queue.
    /// - The commands are ordered after earlier work and before later work only at
    ///   `VK_PIPELINE_STAGE_2_COMPUTE_SHADER_BIT`: commands of other stages need their own barriers
    ///   from and to that stage.
    /// - The commands only use shared resources of turns of exchanges of the same
    ///   [`Compute`](crate::Compute) that stay open until this call has returned, with images in
    ///   `VK_IMAGE_LAYOUT_GENERAL`. Everything else that they use lives until they have run.
    pub unsafe fn record(&self, record: impl FnOnce(vk::CommandBuffer)) -> Result<()> {
        let Target::Queue(stream) = &self.target else {
            return Err(Error::invalid(
                "recording commands in a turn",
                "its compute side is not a Vulkan queue; use `CudaWork::stream` or `HostWork::run`, or \
                 `Backend::Inline`",
            ));
        };
        // SAFETY: the caller upholds the contract.
        unsafe { stream.record_with(record) }
    }
}

/// # Safety
/// The contract of [`KernelWork::launch`]; `function` is the function of `entry` in the stream's
/// context.
unsafe fn launch_on_stream(
    stream: &Arc<CudaStream>,
    function: &cuda_import::Kernel,
    entry: &PtxEntry,
    config: &LaunchConfig,
    packed: &Packed<'_>,
) -> Result<()> {
    let driver_config = cuda_import::cudarc::driver::LaunchConfig {
        grid_dim: config.grid.into(),
        block_dim: config.block.into(),
        shared_mem_bytes: config.shared_bytes,
    };
    let place = |param: &PtxParam| packed.bytes[param.offset..].as_ptr().cast::<c_void>();
    let args: SmallVec<[_; MAX_ARGS]> = entry.params().iter().map(place).collect();
    // SAFETY: each argument points to the bytes in `Packed`, which have the size of the parameter
    // in the PTX and therefore in the module; `packed` lives until the call, which copies them, has
    // returned. The caller guarantees the meaning of the arguments, and that everything that the
    // kernel uses lives.
    let launched = unsafe { function.launch(stream, &driver_config, &args) };
    launched.map_err(|error| match error {
        error if error.is_context_lost() => error.into(),
        error => launch_error(entry, driver_refusal(&error, config, entry)),
    })
}

/// # Safety
/// The contract of [`KernelWork::launch`]; `function` is the kernel's function on the stream's
/// device.
unsafe fn launch_in_queue(
    stream: &InlineStream,
    function: &vk_export::Kernel,
    kernel: &Kernel,
    config: &LaunchConfig,
    packed: &Packed<'_>,
) -> Result<()> {
    let keep = packed.keep.iter().cloned().chain([kernel.keep()]);
    let record = |commands| {
        // SAFETY: recording, outside a render pass, on the device of the kernel; the arguments were
        // checked to have the size that the kernel takes. The caller guarantees their meaning.
        unsafe { function.record(commands, config, &packed.bytes) }.map_err(|error| match error {
            vk_export::Error::Launch { reason, .. } => launch_error(kernel.entry(), reason),
            error => error.into(),
        })
    };
    // SAFETY: the caller upholds the contract; the kernel and its memory are kept alive.
    unsafe { stream.record(keep, record) }
}

/// # Safety
/// The contract of [`KernelWork::launch`].
unsafe fn launch_twin<S: Send + Sync + 'static>(
    stream: &HostStream,
    slots: &Arc<[S]>,
    twin: &Arc<dyn Twin>,
    entry: &PtxEntry,
    config: &LaunchConfig,
    host: HostArgs,
    packed: Packed<'_>,
) -> Result<()> {
    if config.grid.contains(&0) || config.block.contains(&0) {
        let reason = format!("a grid of {:?} blocks of {:?} threads is empty", config.grid, config.block);
        return Err(launch_error(entry, reason));
    }
    if let Some(reason) = twin.refusal(&host) {
        return Err(launch_error(entry, reason));
    }
    let Packed { bytes, keep, .. } = packed;
    let (twin, config, slots) = (Arc::clone(twin), *config, Arc::clone(slots));
    stream.run(move || {
        let _kept = (slots, keep);
        // SAFETY: the twin accepts the arguments. The slots of this turn and the kernel memory are
        // kept alive; slots of other turns are kept by their exchanges, which wait for the work,
        // and belong to the same `Compute` by the caller's contract. Twins and closures run one at
        // a time, between the turn's wait and its signal, and no two arguments overlap.
        unsafe { twin.call(&config, &host, &bytes) };
    })
}

/// Returns the reason for a launch that CUDA refused, including all sizes, since CUDA's error codes
/// do not identify the one that is too large.
fn driver_refusal(error: &cuda_import::Error, config: &LaunchConfig, entry: &PtxEntry) -> String {
    let shape = |[x, y, z]: [u32; 3]| format!("{x} x {y} x {z}");
    let most = entry.max_threads().map(|most| format!(", at most {most} of them by its __launch_bounds__"));
    format!(
        "{error}; requested: {} blocks of {} threads{}, and {} bytes of shared memory in addition to its own {}",
        shape(config.grid),
        shape(config.block),
        most.unwrap_or_default(),
        config.shared_bytes,
        entry.static_shared_bytes()
    )
}

impl<R: Resources> std::fmt::Debug for KernelWork<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match &self.target {
            Target::Stream { .. } => "KernelWork(on a CUDA stream)",
            Target::Queue(_) => "KernelWork(in command buffers)",
            Target::Host(..) => "KernelWork(twins on the CPU)",
        })
    }
}
