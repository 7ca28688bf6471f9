//! Commands that copy a frame's buffers to where the host can read them.
#![allow(unsafe_code)] // Recording commands.

use bridge::ash::vk;
use bridge::vk_export::{LocalBuffer, MemoryLocation};
use bridge::{ExportDevice, RenderTurn, Resources};

use crate::Rig;

/// A command buffer with a host-visible copy of what it read.
pub struct Readback {
    device: ExportDevice,
    pool: vk::CommandPool,
    commands: vk::CommandBuffer,
    target: LocalBuffer,
}

impl Readback {
    /// For up to `size` bytes.
    ///
    /// # Panics
    /// When the device has no room.
    pub fn new(device: &ExportDevice, size: u64) -> Self {
        let raw = device.as_raw();
        let info = vk::CommandPoolCreateInfo::default()
            .queue_family_index(device.queue().family())
            .flags(vk::CommandPoolCreateFlags::RESET_COMMAND_BUFFER);
        // SAFETY: a plain pool of the device's own family.
        let pool = unsafe { raw.create_command_pool(&info, None) }.unwrap();
        let info = vk::CommandBufferAllocateInfo::default().command_pool(pool).command_buffer_count(1);
        // SAFETY: one primary command buffer of that pool.
        let commands = unsafe { raw.allocate_command_buffers(&info) }.unwrap()[0];
        let target =
            LocalBuffer::new(device, "readback", size, vk::BufferUsageFlags::TRANSFER_DST, MemoryLocation::GpuToCpu)
                .unwrap();
        Self { device: device.clone(), pool, commands, target }
    }

    /// Records: take the turn's resources over, copy `sources` one behind the other, give them back.
    ///
    /// # Panics
    /// When recording fails.
    pub fn record<R: Resources>(&self, turn: &RenderTurn<R>, sources: &[(vk::Buffer, u64)]) -> vk::CommandBuffer {
        let raw = self.device.as_raw();
        let begin = vk::CommandBufferBeginInfo::default().flags(vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT);
        // SAFETY: the tests wait for a frame before they record the next into the same buffer.
        unsafe { raw.begin_command_buffer(self.commands, &begin) }.unwrap();
        // SAFETY: recording, of the right family, submitted with this turn.
        unsafe { turn.record_acquire(self.commands) };
        let mut offset = 0;
        for (source, size) in sources {
            let region = [vk::BufferCopy::default().size(*size).dst_offset(offset)];
            // SAFETY: both ranges are inside their buffers; the acquire made the source readable.
            unsafe { raw.cmd_copy_buffer(self.commands, *source, self.target.as_raw(), &region) };
            offset += size;
        }
        // SAFETY: as `record_acquire`.
        unsafe { turn.record_release(self.commands) };
        let to_host = [vk::MemoryBarrier2::default()
            .src_stage_mask(vk::PipelineStageFlags2::ALL_TRANSFER)
            .src_access_mask(vk::AccessFlags2::TRANSFER_WRITE)
            .dst_stage_mask(vk::PipelineStageFlags2::HOST)
            .dst_access_mask(vk::AccessFlags2::HOST_READ)];
        let dependency = vk::DependencyInfo::default().memory_barriers(&to_host);
        // SAFETY: recording.
        unsafe { self.device.cmd_pipeline_barrier2(self.commands, &dependency) };
        // SAFETY: recording.
        unsafe { raw.end_command_buffer(self.commands) }.unwrap();
        self.commands
    }

    /// Records and submits a frame, waits for it, and gives what it read.
    ///
    /// # Panics
    /// When anything fails.
    pub fn run<R: Resources>(&self, turn: RenderTurn<R>, sources: &[(vk::Buffer, u64)]) -> Vec<u32> {
        let commands = self.record(&turn, sources);
        // SAFETY: recorded with the turn's barriers; the wait below keeps the buffers alive long enough.
        let point = unsafe { turn.submit(self.device.queue(), &[commands]) }.unwrap();
        point.wait(Rig::LONG).unwrap();
        self.words()
    }

    /// What the last frame read. It must have been waited for.
    ///
    /// # Panics
    /// Never: the memory is mapped.
    pub fn words(&self) -> Vec<u32> {
        bytemuck::pod_collect_to_vec(self.target.bytes().unwrap())
    }
}

impl Drop for Readback {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // A frame may still be on its way: the pool is left to it.
            return;
        }
        // SAFETY: every frame was waited for.
        unsafe { self.device.as_raw().destroy_command_pool(self.pool, None) };
    }
}
