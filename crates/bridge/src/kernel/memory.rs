//! Device memory that only kernels access.
#![allow(unsafe_code)] // Copies.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use bytemuck::Pod;
use cuda_import::cudarc::driver::{CudaSlice, DevicePtr, DriverError};
use vk_export::ash::vk;
use vk_export::{
    Buffer, BufferInfo, ExportDevice, OneTimeCommands, Placement, Queue, QueueKind, Semaphore, SemaphoreInfo,
    SemaphoreKind,
};

use crate::compute::Compute;
use crate::compute::inline::segment::{Keep, barrier};
use crate::compute::sided::Sided;
use crate::error::{Error, Result};

/// How long the copy of the first contents may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Device memory for the state of kernels. Vulkan commands do not access it.
///
/// It is made by [`Compute::kernel_memory`], and an argument as `&memory`. A launch keeps its arguments: dropping the memory while
/// kernels use it is fine. It is for exchanges of the [`Compute`] that it was made with. The host does not read it: a kernel writes
/// what is wanted into a shared buffer.
#[derive(Debug)]
pub struct KernelMemory<T> {
    memory: Arc<Memory>,
    address: u64,
    len: usize,
    element: PhantomData<fn() -> T>,
}

#[derive(Debug)]
enum Memory {
    Cuda(#[allow(dead_code)] CudaSlice<u8>), // Kept, and freed behind the stream's work.
    Vulkan(#[allow(dead_code)] Buffer),
}

impl Compute {
    /// Makes device memory for kernels, with these elements in it. `name` is for errors and debuggers.
    ///
    /// The contents are copied: in the Vulkan queue this submits a copy and waits for it, so make memory before the first frame.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for no elements, on the CPU, and where CUDA has no room; else the failed call.
    pub fn kernel_memory<T: Pod>(&self, name: &str, contents: &[T]) -> Result<KernelMemory<T>> {
        let bytes: &[u8] = bytemuck::cast_slice(contents);
        let object = || format!("kernel memory \"{name}\"");
        if bytes.is_empty() {
            return Err(Error::InvalidArgument { object: object(), reason: "it has no bytes".into() });
        }
        let (memory, address) = match self.side() {
            Sided::Cuda(cuda) => {
                let failed = |error: DriverError| Error::InvalidArgument {
                    object: object(),
                    reason: format!("CUDA does not give {} bytes for it: {error}", bytes.len()),
                };
                let memory = cuda.stream().clone_htod(bytes).map_err(failed)?;
                let address = memory.device_ptr(cuda.stream()).0;
                (Memory::Cuda(memory), address)
            }
            Sided::Inline(inline) => {
                let kind = inline.stream().queue_kind();
                let buffer = self.upload(name, bytes, kind)?;
                let address = buffer.device_address().ok_or_else(|| Error::InvalidArgument {
                    object: object(),
                    reason: "its device has no buffer addresses".into(),
                })?;
                (Memory::Vulkan(buffer), address)
            }
            Sided::Host(_) => {
                return Err(Error::InvalidArgument {
                    object: object(),
                    reason: "the CPU backend runs closures, which keep their state themselves".into(),
                });
            }
        };
        Ok(KernelMemory { memory: Arc::new(memory), address, len: contents.len(), element: PhantomData })
    }

    /// A buffer for Vulkan alone with these bytes in it.
    fn upload(&self, name: &str, bytes: &[u8], kind: QueueKind) -> Result<Buffer> {
        let device = self.device();
        let queue = device.queue_of(kind).unwrap_or_else(|| device.queue());
        let size = bytes.len() as u64;
        let usage = vk::BufferUsageFlags::TRANSFER_SRC;
        let from = Buffer::new(device, &BufferInfo { name, size, usage, placement: Placement::HostVisible })?;
        let usage = vk::BufferUsageFlags::TRANSFER_DST | vk::BufferUsageFlags::SHADER_DEVICE_ADDRESS;
        let to = Buffer::new(device, &BufferInfo { name, size, usage, placement: Placement::DeviceLocal })?;
        let start = from.host_ptr().ok_or_else(|| Error::InvalidArgument {
            object: format!("kernel memory \"{name}\""),
            reason: "the driver has not mapped the memory for its contents".into(),
        })?;
        // SAFETY: the buffer has exactly this many bytes, mapped, and nothing else knows it.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), start.as_ptr(), bytes.len()) };
        let copy = |commands| {
            let region = [vk::BufferCopy::default().size(size)];
            // SAFETY: VUID-vkCmdCopyBuffer-size-00115, -00116: both have `size` bytes; the usages are those of a copy.
            unsafe { device.as_raw().cmd_copy_buffer(commands, from.as_raw(), to.as_raw(), &region) };
            let copied = (vk::PipelineStageFlags2::ALL_TRANSFER, vk::AccessFlags2::TRANSFER_WRITE);
            let shader = vk::AccessFlags2::SHADER_READ | vk::AccessFlags2::SHADER_WRITE;
            let kernels = (vk::PipelineStageFlags2::COMPUTE_SHADER, shader);
            // SAFETY: recording, outside a render pass; the kernels come later on the same queue.
            unsafe { barrier(device, commands, copied, kernels) };
        };
        // SAFETY: the queue is the device's own; the copy keeps its Valid Usage, see above.
        let commands = unsafe { OneTimeCommands::record(device, queue, name, copy) }?;
        match run(device, queue, &commands)? {
            Ok(()) => Ok(to),
            // Nothing runs on a lost device: freeing is allowed (Vulkan specification, "Lost Device").
            Err(error) if error.is_device_lost() => Err(error.into()),
            Err(error) => {
                // The copy may still run.
                std::mem::forget((commands, from, to));
                Err(error.into())
            }
        }
    }
}

/// Submits the commands and waits for them. The outer error means that nothing was submitted, the inner one that the wait failed
/// and the commands may still be running.
fn run(device: &ExportDevice, queue: &Queue, commands: &OneTimeCommands) -> Result<vk_export::Result<()>> {
    let info = SemaphoreInfo { name: "upload", kind: SemaphoreKind::Timeline, exportable: false };
    let done = Semaphore::new(device, &info)?;
    let infos = [vk::CommandBufferSubmitInfo::default().command_buffer(commands.as_raw())];
    let signals = [vk::SemaphoreSubmitInfo::default()
        .semaphore(done.as_raw())
        .value(1)
        .stage_mask(vk::PipelineStageFlags2::ALL_COMMANDS)];
    let batch = vk::SubmitInfo2::default().command_buffer_infos(&infos).signal_semaphore_infos(&signals);
    // SAFETY: recorded for this queue, alive until the wait below has seen it end, or forever.
    unsafe { queue.submit(&[batch], vk::Fence::null()) }?;
    let waited = done.wait(1, LIMIT);
    if waited.is_err() {
        std::mem::forget(done);
    }
    Ok(waited)
}

impl<T> KernelMemory<T> {
    /// The address of the first element, as the kernels of its compute side see it.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// The length in elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns `false`: there is at least one element.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn keep(&self) -> Keep {
        Arc::clone(&self.memory) as Keep
    }
}
