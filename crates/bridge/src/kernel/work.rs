//! Launching kernels in a frame.
#![allow(unsafe_code)] // Launches.

use std::sync::Arc;

use cuda_import::cudarc::driver::{CudaStream, PushKernelArg};
use vk_export::LaunchConfig;
use vk_export::ash::vk;

use crate::compute::inline::stream::InlineStream;
use crate::error::{Error, Result};
use crate::exchange::resources::Resources;
use crate::kernel::args::{KernelArgs, Packed, launch_error};
use crate::kernel::module::{Function, Kernel};

/// A frame's work as launches of kernels, on a CUDA stream or in a command buffer of the Vulkan queue alike.
///
/// Launches run one after the other, in the order of the calls, whichever turn of the same [`Compute`](crate::Compute) they are
/// of; a kernel sees what those before it wrote.
pub struct KernelWork<'t, R: Resources> {
    /// The resources, as kernel arguments.
    pub resources: R::Kernel<'t>,
    target: Target<'t>,
}

/// Where launches go.
#[derive(Clone, Copy)]
enum Target<'t> {
    Stream(&'t Arc<CudaStream>),
    Queue(&'t InlineStream),
}

impl<'t, R: Resources> KernelWork<'t, R> {
    pub(crate) fn on_stream(stream: &'t Arc<CudaStream>, resources: R::Kernel<'t>) -> Self {
        Self { resources, target: Target::Stream(stream) }
    }

    pub(crate) fn on_queue(stream: &'t InlineStream, resources: R::Kernel<'t>) -> Self {
        Self { resources, target: Target::Queue(stream) }
    }

    /// Launches a kernel behind the work before. Does not wait.
    ///
    /// # Errors
    /// [`Error::Launch`] for arguments of another number or size than the kernel's parameters, and for a grid, block or shared
    /// memory past the limits, all before the driver is asked; [`Error::InvalidArgument`] for a kernel that was loaded for
    /// another compute side; else the failed call.
    ///
    /// # Safety
    /// - The arguments are what the kernel's parameters mean, and the kernel stays inside the memory that they point to.
    /// - It uses no shared resource but those of turns that are open, of exchanges of the same [`Compute`](crate::Compute).
    /// - Memory that it reaches in another way lives until it has run; [`KernelMemory`](crate::KernelMemory) given as an argument
    ///   does.
    /// - In command buffers: it ends, and contains nothing that [`Ptx`](vk_export::Ptx) names as hanging a queue.
    #[doc(alias = "cuLaunchKernel")]
    #[doc(alias = "vkCmdCuLaunchKernelNVX")]
    pub unsafe fn launch<A: KernelArgs>(&self, kernel: &Kernel, config: &LaunchConfig, args: A) -> Result<()> {
        let entry = kernel.entry();
        let packed = Packed::new(entry, &args)?;
        match (self.target, kernel.function()) {
            (Target::Stream(stream), Function::Stream(function)) => {
                let config = cuda_import::cudarc::driver::LaunchConfig {
                    grid_dim: config.grid.into(),
                    block_dim: config.block.into(),
                    shared_mem_bytes: config.shared_bytes,
                };
                let mut launch = stream.launch_builder(function);
                for param in entry.params() {
                    // The driver reads as many bytes of the parameter as the module says, which is what the PTX says.
                    if let Some(first) = packed.bytes.get(param.offset) {
                        launch.arg(first);
                    }
                }
                // SAFETY: each argument is where `Packed` has put it, with the parameter's size behind it, and `packed` lives
                // until the call is over, which copies the arguments. What they mean is the caller's.
                let launched = unsafe { launch.launch(config) };
                launched.map(|_| ()).map_err(|error| launch_error(entry, error.to_string()))
            }
            (Target::Queue(stream), Function::Queue(function)) => {
                function.check(config, packed.bytes.len())?;
                let keep = packed.keep.iter().cloned().chain([kernel.keep()]);
                let record = |commands| {
                    // SAFETY: recording, outside a render pass, on the device of the kernel; the arguments were seen to be as
                    // many bytes as the kernel takes. What they mean is the caller's.
                    Ok(unsafe { function.record(commands, config, &packed.bytes) }?)
                };
                // SAFETY: handed on to the caller; the kernel and its memory are kept.
                unsafe { stream.record(keep, record) }
            }
            _ => Err(Error::InvalidArgument {
                object: format!("kernel \"{}\"", entry.name()),
                reason: "it was loaded for another compute side; load it with this exchange's `Compute`".into(),
            }),
        }
    }

    /// Records commands of the program's own behind the work before, in command buffers of the Vulkan queue.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] on a CUDA stream, which [`CudaWork::stream`](crate::CudaWork::stream) lends; else the failed
    /// call.
    ///
    /// # Safety
    /// - The commands keep their Valid Usage, outside a render pass, on the compute side's queue.
    /// - They come after, and what follows them comes after them, at `VK_PIPELINE_STAGE_2_COMPUTE_SHADER_BIT` alone: commands of
    ///   other stages bring barriers from and to it.
    /// - They use no shared resource but those of turns that are open, of exchanges of the same [`Compute`](crate::Compute), in
    ///   `VK_IMAGE_LAYOUT_GENERAL`; what else they use lives until they have run.
    pub unsafe fn record(&self, record: impl FnOnce(vk::CommandBuffer)) -> Result<()> {
        let Target::Queue(stream) = self.target else {
            return Err(Error::InvalidArgument {
                object: "recording commands in a turn".into(),
                reason: "its compute side is a CUDA stream; use `CudaWork::stream`, or `Backend::Inline`".into(),
            });
        };
        let record = |commands| {
            record(commands);
            Ok(())
        };
        // SAFETY: handed on to the caller.
        unsafe { stream.record([], record) }
    }
}

impl<R: Resources> std::fmt::Debug for KernelWork<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.target {
            Target::Stream(_) => "KernelWork(on a CUDA stream)",
            Target::Queue(_) => "KernelWork(in command buffers)",
        })
    }
}
