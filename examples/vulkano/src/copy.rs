//! vulkano's part of a frame: a copy out of the shared buffer.

use std::error::Error;
use std::sync::Arc;

use bridge::ash::vk;
use bridge::ash::vk::Handle as _;
use bridge::{Backend, BufferSpec, Lease, RenderTurn};
use vulkano::VulkanObject as _;
use vulkano::buffer::sys::RawBuffer;
use vulkano::buffer::{Buffer, BufferCreateInfo, BufferUsage, Subbuffer};
use vulkano::command_buffer::allocator::StandardCommandBufferAllocator;
use vulkano::command_buffer::{
    CommandBuffer, CommandBufferBeginInfo, CommandBufferLevel, CommandBufferUsage, CopyBufferInfo,
    RecordingCommandBuffer,
};
use vulkano::memory::ExternalMemoryHandleTypes;
use vulkano::memory::allocator::{AllocationCreateInfo, MemoryTypeFilter, StandardMemoryAllocator};

use crate::adopt::Engine;

/// A shared buffer as a vulkano buffer, which does not destroy the handle.
pub struct SharedBuffer {
    // Field order is drop order: the lease is dropped last.
    buffer: Subbuffer<[u8]>,
    /// Keeps the `VkBuffer` and its memory, also if the exchange is dropped or resized.
    _lease: Lease,
}

/// The commands of a frame, with the buffer that they read. Keep it until they have been executed.
pub struct Recorded {
    pub commands: CommandBuffer,
    pub source: SharedBuffer,
}

/// Creates a vulkano buffer that the host reads.
pub fn target(engine: &Engine, len: u32) -> Result<Subbuffer<[u32]>, Box<dyn Error>> {
    let allocator = Arc::new(StandardMemoryAllocator::new_default(engine.device.clone()));
    let buffer = BufferCreateInfo { usage: BufferUsage::TRANSFER_DST, ..Default::default() };
    let memory = AllocationCreateInfo {
        memory_type_filter: MemoryTypeFilter::PREFER_HOST | MemoryTypeFilter::HOST_RANDOM_ACCESS,
        ..Default::default()
    };
    Ok(Buffer::new_slice(allocator, buffer, memory, len.into())?)
}

/// Records a copy of the turn's buffer to `target`, between the turn's two barriers.
pub fn record(
    engine: &Engine,
    backend: Backend,
    turn: &RenderTurn<BufferSpec<u32>>,
    target: &Subbuffer<[u32]>,
) -> Result<Recorded, Box<dyn Error>> {
    let allocator = Arc::new(StandardCommandBufferAllocator::new(engine.device.clone(), Default::default()));
    let begin = CommandBufferBeginInfo { usage: CommandBufferUsage::OneTimeSubmit, ..Default::default() };
    let family = engine.queue.queue_family_index();
    let mut commands = RecordingCommandBuffer::new(allocator, family, CommandBufferLevel::Primary, begin)?;
    let raw = vk::CommandBuffer::from_raw(commands.handle().as_raw());
    let source = shared(engine, backend, turn);
    // SAFETY: the commands are recording, outside of a render pass.
    unsafe { turn.record_acquire(raw) };
    // SAFETY: both buffers live until the copy is done, which the caller waits for with `Recorded`
    // and `target`.
    unsafe { commands.copy_buffer(&CopyBufferInfo::buffers(source.buffer.clone(), target.clone())) }?;
    // SAFETY: as for the acquire.
    unsafe { turn.record_release(raw) };
    // SAFETY: the recorded objects live until the caller has waited for the submission.
    let commands = unsafe { commands.end() }?;
    Ok(Recorded { commands, source })
}

/// Wraps the turn's buffer as a vulkano buffer, with a lease on it.
fn shared(engine: &Engine, backend: Backend, turn: &RenderTurn<BufferSpec<u32>>) -> SharedBuffer {
    let buffer = turn.resources();
    let info = BufferCreateInfo {
        size: buffer.size(),
        usage: BufferUsage::TRANSFER_SRC,
        // Only CUDA's memory is exported.
        external_memory_handle_types: match backend {
            Backend::Cuda if cfg!(windows) => ExternalMemoryHandleTypes::OPAQUE_WIN32,
            Backend::Cuda => ExternalMemoryHandleTypes::OPAQUE_FD,
            _ => ExternalMemoryHandleTypes::empty(),
        },
        ..Default::default()
    };
    let raw = vk::Buffer::from_raw(buffer.as_raw().as_raw());
    // SAFETY: a live buffer of this device, created as `info` says. The lease beside it keeps it.
    let buffer = unsafe { RawBuffer::from_handle_borrowed(engine.device.clone(), raw, info) };
    // SAFETY: the exchange has bound it to memory.
    let buffer = unsafe { buffer.assume_bound() };
    SharedBuffer { buffer: Subbuffer::new(Arc::new(buffer)), _lease: turn.lease() }
}
