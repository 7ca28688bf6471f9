//! A command buffer that is recorded between a turn's barriers.
#![allow(unsafe_code)] // Recording commands.

use std::cell::RefCell;

use bridge::ash::vk;
use bridge::{Direction, ExportDevice, QueueKind, RenderTurn, Resources, TimelinePoint};

use crate::Rig;

/// A command buffer. Its last submission must have been waited for before it is recorded again or
/// dropped.
pub struct Commands {
    device: ExportDevice,
    pool: vk::CommandPool,
    raw: vk::CommandBuffer,
    submitted: RefCell<Option<TimelinePoint>>,
}

impl Commands {
    /// Creates a command buffer for the device's main queue.
    ///
    /// # Panics
    /// Panics if the device has no memory.
    pub fn new(device: &ExportDevice) -> Self {
        Self::on(device, QueueKind::Graphics)
    }

    /// Creates a command buffer for a queue that the device has.
    ///
    /// # Panics
    /// Panics if the device has no memory.
    pub fn on(device: &ExportDevice, queue: QueueKind) -> Self {
        let info = vk::CommandPoolCreateInfo::default()
            .queue_family_index(device.queue_of(queue).unwrap().family())
            .flags(vk::CommandPoolCreateFlags::RESET_COMMAND_BUFFER);
        // SAFETY: a plain pool of one of the device's families.
        let pool = unsafe { device.as_raw().create_command_pool(&info, None) }.unwrap();
        let info = vk::CommandBufferAllocateInfo::default().command_pool(pool).command_buffer_count(1);
        // SAFETY: one primary command buffer of that pool.
        let raw = unsafe { device.as_raw().allocate_command_buffers(&info) }.unwrap()[0];
        Self { device: device.clone(), pool, raw, submitted: RefCell::new(None) }
    }

    /// Stores the point at which the last submission has completed: the next recording waits for
    /// it.
    ///
    /// Waiting for a later point that CUDA signals would be sufficient, but the validation layer
    /// does not see CUDA's signals, and so does not know that the commands have completed.
    pub fn note(&self, point: TimelinePoint) {
        self.submitted.replace(Some(point));
    }

    /// Waits for the stored point.
    ///
    /// # Panics
    /// Panics if the point is not reached.
    pub fn finish(&self) {
        if let Some(point) = self.submitted.take() {
            point.wait(Rig::LONG).unwrap();
        }
    }

    /// Records the acquire of the turn's resources, the commands of `use_them`, and the release.
    ///
    /// # Panics
    /// Panics if the recording fails.
    pub fn record<R: Resources, D: Direction>(
        &self,
        turn: &RenderTurn<R, D>,
        use_them: impl FnOnce(vk::CommandBuffer),
    ) -> vk::CommandBuffer {
        self.begin();
        // SAFETY: recording, of the right family, submitted with this turn.
        unsafe { turn.record_acquire(self.raw) };
        use_them(self.raw);
        // SAFETY: as above.
        unsafe { turn.record_release(self.raw) };
        self.end();
        self.raw
    }

    /// Begins a recording that does not belong to a turn.
    ///
    /// # Panics
    /// Panics if the recording fails.
    pub fn begin(&self) -> vk::CommandBuffer {
        self.finish();
        let begin = vk::CommandBufferBeginInfo::default().flags(vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT);
        // SAFETY: the last submission of the command buffer was waited for.
        unsafe { self.device.as_raw().begin_command_buffer(self.raw, &begin) }.unwrap();
        self.raw
    }

    /// Ends the recording that [`begin`](Self::begin) began.
    ///
    /// # Panics
    /// Panics if the recording fails.
    pub fn end(&self) {
        // SAFETY: recording.
        unsafe { self.device.as_raw().end_command_buffer(self.raw) }.unwrap();
    }

    /// Records a fill of a turn's buffer with one word.
    ///
    /// # Panics
    /// Panics if the recording fails.
    pub fn fill<R: Resources, D: Direction>(
        &self,
        turn: &RenderTurn<R, D>,
        buffer: vk::Buffer,
        word: u32,
    ) -> vk::CommandBuffer {
        self.record(turn, |commands| {
            // SAFETY: recording; the buffer's size is a multiple of 4 and its usage has
            // TRANSFER_DST.
            unsafe { self.device.as_raw().cmd_fill_buffer(commands, buffer, 0, vk::WHOLE_SIZE, word) };
        })
    }
}

impl Drop for Commands {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // A frame may still be in flight: the pool is leaked.
            return;
        }
        self.finish();
        // SAFETY: every frame was waited for.
        unsafe { self.device.as_raw().destroy_command_pool(self.pool, None) };
    }
}

/// Records a barrier that makes copies before it visible to the host.
pub fn to_host(device: &ExportDevice, commands: vk::CommandBuffer) {
    let to_host = [vk::MemoryBarrier2::default()
        .src_stage_mask(vk::PipelineStageFlags2::ALL_TRANSFER)
        .src_access_mask(vk::AccessFlags2::TRANSFER_WRITE)
        .dst_stage_mask(vk::PipelineStageFlags2::HOST)
        .dst_access_mask(vk::AccessFlags2::HOST_READ)];
    let dependency = vk::DependencyInfo::default().memory_barriers(&to_host);
    // SAFETY: recording.
    unsafe { device.cmd_pipeline_barrier2(commands, &dependency) };
}
