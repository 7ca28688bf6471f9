//! Commands that copy a frame's buffers to memory that the host can read.
#![allow(unsafe_code)] // Recording commands.

use bridge::ash::vk;
use bridge::{Direction, ExportDevice, QueueKind, RenderRead, RenderTurn, Resources, TimelinePoint};
use vk_local::{LocalBuffer, MemoryLocation};

use crate::{Commands, Rig, to_host};

/// A command buffer with a host-visible copy of the resources that it read.
pub struct Readback {
    device: ExportDevice,
    commands: Commands,
    target: LocalBuffer,
}

impl Readback {
    /// Creates a readback of up to `size` bytes.
    ///
    /// # Panics
    /// Panics if the device has no memory.
    pub fn new(device: &ExportDevice, size: u64) -> Self {
        Self::on(device, size, QueueKind::Graphics)
    }

    /// [`new`](Self::new) for another queue that the device has.
    ///
    /// # Panics
    /// Panics if the device has no memory.
    pub fn on(device: &ExportDevice, size: u64, queue: QueueKind) -> Self {
        let target =
            LocalBuffer::new(device, "readback", size, vk::BufferUsageFlags::TRANSFER_DST, MemoryLocation::GpuToCpu)
                .unwrap();
        Self { device: device.clone(), commands: Commands::on(device, queue), target }
    }

    /// Records the acquire of the turn's resources, copies of `sources` one after another, and the
    /// release.
    ///
    /// # Panics
    /// Panics if the recording fails.
    pub fn record<R: Resources, D: Direction>(
        &self,
        turn: &RenderTurn<R, D>,
        sources: &[(vk::Buffer, u64)],
    ) -> vk::CommandBuffer {
        self.record_with(turn, sources, |_| {})
    }

    /// [`record`](Self::record), with additional commands of `more` before the release.
    ///
    /// # Panics
    /// Panics if the recording fails.
    pub fn record_with<R: Resources, D: Direction>(
        &self,
        turn: &RenderTurn<R, D>,
        sources: &[(vk::Buffer, u64)],
        more: impl FnOnce(vk::CommandBuffer),
    ) -> vk::CommandBuffer {
        self.commands.record(turn, |commands| {
            self.copy(commands, sources);
            more(commands);
        })
    }

    /// Records the acquire of the newest frame, and copies of its `sources`. Waits for the previous
    /// submission, see [`note`](Self::note).
    ///
    /// # Panics
    /// Panics if the recording fails.
    pub fn record_read<R: Resources>(&self, turn: &RenderRead<R>, sources: &[(vk::Buffer, u64)]) -> vk::CommandBuffer {
        let raw = self.commands.begin();
        // SAFETY: recording, of the right family, submitted with this turn.
        unsafe { turn.record_acquire(raw) };
        self.copy(raw, sources);
        self.commands.end();
        raw
    }

    /// [`record_read`](Self::record_read) with the first levels of images, of 4 bytes per texel and
    /// in these layouts, after the `sources`.
    ///
    /// # Panics
    /// Panics if the recording fails.
    pub fn record_read_all<R: Resources>(
        &self,
        turn: &RenderRead<R>,
        sources: &[(vk::Buffer, u64)],
        images: &[(vk::Image, vk::ImageLayout, [u32; 2])],
    ) -> vk::CommandBuffer {
        let raw = self.commands.begin();
        // SAFETY: recording, of the right family, submitted with this turn.
        unsafe { turn.record_acquire(raw) };
        let mut offset = sources.iter().map(|(_, size)| size).sum();
        for (image, layout, [width, height]) in images {
            let layers = vk::ImageSubresourceLayers::default().aspect_mask(vk::ImageAspectFlags::COLOR).layer_count(1);
            let extent = vk::Extent3D { width: *width, height: *height, depth: 1 };
            let region =
                [vk::BufferImageCopy::default().buffer_offset(offset).image_subresource(layers).image_extent(extent)];
            // SAFETY: recording; the acquire made the image readable, and it fits after the
            // previous copies.
            unsafe {
                self.device.as_raw().cmd_copy_image_to_buffer(raw, *image, *layout, self.target.as_raw(), &region);
            }
            offset += u64::from(width * height) * 4;
        }
        self.copy(raw, sources);
        self.commands.end();
        raw
    }

    /// Stores the point at which the last recorded commands have completed.
    pub fn note(&self, point: TimelinePoint) {
        self.commands.note(point);
    }

    /// Waits for the stored point.
    ///
    /// # Panics
    /// Panics if the point is not reached.
    pub fn finish(&self) {
        self.commands.finish();
    }

    fn copy(&self, commands: vk::CommandBuffer, sources: &[(vk::Buffer, u64)]) {
        let mut offset = 0;
        for (source, size) in sources {
            let region = [vk::BufferCopy::default().size(*size).dst_offset(offset)];
            let target = self.target.as_raw();
            // SAFETY: both ranges are inside their buffers; the acquire made the source readable.
            unsafe { self.device.as_raw().cmd_copy_buffer(commands, *source, target, &region) };
            offset += size;
        }
        to_host(&self.device, commands);
    }

    /// Records and submits a frame, waits for it, and returns the words that it read.
    ///
    /// # Panics
    /// Panics if anything fails.
    pub fn run<R: Resources>(&self, turn: RenderTurn<R>, sources: &[(vk::Buffer, u64)]) -> Vec<u32> {
        let commands = self.record(&turn, sources);
        // SAFETY: recorded with the turn's barriers; the wait below keeps the buffers alive long
        // enough.
        let point = unsafe { turn.submit(&[commands]) }.unwrap();
        point.wait(Rig::LONG).unwrap();
        self.words()
    }

    /// Returns the words that the last frame read. The frame must have been waited for.
    ///
    /// # Panics
    /// Does not panic: the memory is mapped.
    pub fn words(&self) -> Vec<u32> {
        // SAFETY: the caller has waited for the frame, with a barrier to the host after its copies;
        // the next frame is recorded after this call.
        bytemuck::pod_collect_to_vec(unsafe { self.target.bytes() }.unwrap())
    }
}
