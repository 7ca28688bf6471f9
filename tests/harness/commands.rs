//! One command buffer, recorded between a turn's barriers.
#![allow(unsafe_code)] // Recording commands.

use std::cell::RefCell;

use bridge::ash::vk;
use bridge::{Direction, ExportDevice, QueueKind, RenderTurn, Resources, TimelinePoint};

use crate::Rig;

/// A command buffer. What was submitted with it must have been waited for before it is recorded
/// again or dropped.
pub struct Commands {
    device: ExportDevice,
    pool: vk::CommandPool,
    raw: vk::CommandBuffer,
    submitted: RefCell<Option<TimelinePoint>>,
}

impl Commands {
    /// For the device's main queue.
    ///
    /// # Panics
    /// When the device has no room.
    pub fn new(device: &ExportDevice) -> Self {
        Self::on(device, QueueKind::Graphics)
    }

    /// For a queue that the device has.
    ///
    /// # Panics
    /// When the device has no room.
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

    /// Notes the point at which what was submitted last has run: recording again waits for it.
    ///
    /// Waiting for a later point that CUDA signals would do, but the validation layer sees no
    /// signal of CUDA's, and so not that the commands have run.
    pub fn note(&self, point: TimelinePoint) {
        self.submitted.replace(Some(point));
    }

    /// Waits for the noted point.
    ///
    /// # Panics
    /// When it does not come.
    pub fn finish(&self) {
        if let Some(point) = self.submitted.take() {
            point.wait(Rig::LONG).unwrap();
        }
    }

    /// Records: take the turn's resources over, what `use_them` records, give them back.
    ///
    /// # Panics
    /// When recording fails.
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

    /// Begins to record what belongs to no turn.
    ///
    /// # Panics
    /// When recording fails.
    pub fn begin(&self) -> vk::CommandBuffer {
        self.finish();
        let begin = vk::CommandBufferBeginInfo::default().flags(vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT);
        // SAFETY: what was submitted with it has been waited for.
        unsafe { self.device.as_raw().begin_command_buffer(self.raw, &begin) }.unwrap();
        self.raw
    }

    /// Ends what [`begin`](Self::begin) has begun.
    ///
    /// # Panics
    /// When recording fails.
    pub fn end(&self) {
        // SAFETY: recording.
        unsafe { self.device.as_raw().end_command_buffer(self.raw) }.unwrap();
    }

    /// Records a fill of a turn's buffer with one word.
    ///
    /// # Panics
    /// When recording fails.
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
            // A frame may still be on its way: the pool is left to it.
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
