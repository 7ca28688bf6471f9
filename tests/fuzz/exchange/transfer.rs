//! The Vulkan part of a frame: a copy of all words to host-visible memory, then a fill.
#![allow(unsafe_code, clippy::unwrap_used)] // Recording commands.

use bridge::ExportDevice;
use bridge::ash::vk;
use vk_local::{LocalBuffer, MemoryLocation};

use crate::shape::Part;

/// Stages and accesses before or after a barrier.
pub(crate) type Scope = (vk::PipelineStageFlags2, vk::AccessFlags2);

/// Size of the largest slot in bytes.
const ROOM: u64 = 16 << 10;

/// Command buffers and memory for one frame at a time. Its submission must have ended before it is
/// recorded again or dropped.
pub(crate) struct Transfer {
    device: ExportDevice,
    pool: vk::CommandPool,
    raw: vk::CommandBuffer,
    /// `None` only in `drop`.
    target: Option<LocalBuffer>,
    words: usize,
}

impl Transfer {
    pub(crate) fn new(device: &ExportDevice) -> Self {
        let info = vk::CommandPoolCreateInfo::default()
            .queue_family_index(device.queue().family())
            .flags(vk::CommandPoolCreateFlags::RESET_COMMAND_BUFFER);
        // SAFETY: a plain pool of the device's family.
        let pool = unsafe { device.as_raw().create_command_pool(&info, None) }.unwrap();
        let info = vk::CommandBufferAllocateInfo::default().command_pool(pool).command_buffer_count(1);
        // SAFETY: one primary command buffer of that pool.
        let raw = unsafe { device.as_raw().allocate_command_buffers(&info) }.unwrap()[0];
        let usage = vk::BufferUsageFlags::TRANSFER_DST;
        let target = LocalBuffer::new(device, "frame", ROOM, usage, MemoryLocation::GpuToCpu).unwrap();
        Self { device: device.clone(), pool, raw, target: Some(target), words: 0 }
    }

    /// Records `acquire`, a copy of all parts, a fill with `fill`, and `release`.
    pub(crate) fn record(
        &mut self,
        parts: &[Part],
        fill: Option<u32>,
        acquire: impl FnOnce(vk::CommandBuffer),
        release: impl FnOnce(vk::CommandBuffer),
    ) -> vk::CommandBuffer {
        let begin = vk::CommandBufferBeginInfo::default().flags(vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT);
        // SAFETY: its submission has ended, by this type's contract.
        unsafe { self.device.as_raw().begin_command_buffer(self.raw, &begin) }.unwrap();
        acquire(self.raw);
        let mut offset = 0;
        for part in parts {
            copy(&self.device, self.raw, part, self.target.as_ref().unwrap().as_raw(), offset);
            offset += part.size();
        }
        assert!(offset <= ROOM);
        self.words = usize::try_from(offset / 4).unwrap();
        if let Some(word) = fill {
            self.barrier(
                (vk::PipelineStageFlags2::ALL_TRANSFER, vk::AccessFlags2::NONE),
                (vk::PipelineStageFlags2::ALL_TRANSFER, vk::AccessFlags2::TRANSFER_WRITE),
            );
            parts.iter().for_each(|part| fill_with(&self.device, self.raw, part, word));
        }
        self.barrier(
            (vk::PipelineStageFlags2::ALL_TRANSFER, vk::AccessFlags2::TRANSFER_WRITE),
            (vk::PipelineStageFlags2::HOST, vk::AccessFlags2::HOST_READ),
        );
        release(self.raw);
        // SAFETY: recording.
        unsafe { self.device.as_raw().end_command_buffer(self.raw) }.unwrap();
        self.raw
    }

    fn barrier(&self, from: Scope, to: Scope) {
        barrier(&self.device, self.raw, from, to);
    }

    /// Returns the words that the last frame read. The caller must have waited for its end.
    pub(crate) fn words(&self) -> Vec<u32> {
        // SAFETY: the caller waited for the frame, whose copies are followed by a barrier to the
        // host.
        let bytes = unsafe { self.target.as_ref().unwrap().bytes() }.unwrap();
        bytes.chunks_exact(4).take(self.words).map(|word| u32::from_ne_bytes(word.try_into().unwrap())).collect()
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // A frame may still be in flight, so its commands and memory are leaked.
            std::mem::forget(self.target.take());
            return;
        }
        // SAFETY: its submissions have ended, by this type's contract.
        unsafe { self.device.as_raw().destroy_command_pool(self.pool, None) };
    }
}

pub(crate) fn barrier(
    device: &ExportDevice,
    commands: vk::CommandBuffer,
    (src_stage, src_access): Scope,
    (dst_stage, dst_access): Scope,
) {
    let barrier = [vk::MemoryBarrier2::default()
        .src_stage_mask(src_stage)
        .src_access_mask(src_access)
        .dst_stage_mask(dst_stage)
        .dst_access_mask(dst_access)];
    let dependency = vk::DependencyInfo::default().memory_barriers(&barrier);
    // SAFETY: recording.
    unsafe { device.cmd_pipeline_barrier2(commands, &dependency) };
}

/// Records a copy of a whole part to that offset of `target`, which has room for it.
pub(crate) fn copy(device: &ExportDevice, commands: vk::CommandBuffer, part: &Part, target: vk::Buffer, offset: u64) {
    match part {
        Part::Buffer { raw, size } => {
            let region = [vk::BufferCopy::default().size(*size).dst_offset(offset)];
            // SAFETY: both ranges are inside their buffers.
            unsafe { device.as_raw().cmd_copy_buffer(commands, *raw, target, &region) };
        }
        Part::Image { raw, layout, extent } => {
            let region = [vk::BufferImageCopy::default()
                .buffer_offset(offset)
                .image_subresource(LAYERS)
                .image_extent(vk::Extent3D { width: extent.width, height: extent.height, depth: 1 })];
            // SAFETY: the image is in that layout between the turn's barriers; the region is the
            // whole image.
            unsafe { device.as_raw().cmd_copy_image_to_buffer(commands, *raw, *layout, target, &region) };
        }
    }
}

/// Records a fill of a whole part.
pub(crate) fn fill_with(device: &ExportDevice, commands: vk::CommandBuffer, part: &Part, word: u32) {
    match part {
        // SAFETY: the buffer's size is a multiple of 4.
        Part::Buffer { raw, .. } => unsafe {
            device.as_raw().cmd_fill_buffer(commands, *raw, 0, vk::WHOLE_SIZE, word);
        },
        Part::Image { raw, layout, .. } => {
            let color = vk::ClearColorValue { uint32: [word; 4] };
            let range = [vk::ImageSubresourceRange {
                aspect_mask: vk::ImageAspectFlags::COLOR,
                level_count: 1,
                layer_count: 1,
                ..Default::default()
            }];
            // SAFETY: the image is in that layout between the turn's barriers.
            unsafe { device.as_raw().cmd_clear_color_image(commands, *raw, *layout, &color, &range) };
        }
    }
}

const LAYERS: vk::ImageSubresourceLayers = vk::ImageSubresourceLayers {
    aspect_mask: vk::ImageAspectFlags::COLOR,
    mip_level: 0,
    base_array_layer: 0,
    layer_count: 1,
};
