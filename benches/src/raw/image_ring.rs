//! Frames by hand: slots of shared images that alternate between CUDA, which writes them, and a
//! Vulkan queue.
#![allow(unsafe_code)] // Vulkan and driver calls.

use anyhow::{Context, Result};
use bridge::ExportDevice;
use bridge::ash::vk;

use super::commands::{Commands, submit};
use super::cuda::{Kernel, Module, Stream};
use super::image::{SharedImage, Target, paint};
use super::shared::Exports;
use super::timeline::Timeline;
use crate::gpu::Gpu;
use crate::harness::LIMIT;
use crate::harness::frames::FrameLoop;

/// The ring. Dropping it waits for its frames.
pub(crate) struct ImageRing<'g> {
    // Field order is drop order: resources that frames use are dropped before their parents.
    slots: Vec<SharedImage>,
    commands: Commands,
    computed: Timeline,
    rendered: Timeline,
    stream: Stream,
    paint: Kernel,
    extent: [u32; 2],
    frames: u64,
    device: &'g ExportDevice,
    _module: Module,
}

impl<'g> ImageRing<'g> {
    /// Creates a ring of images of `extent` texels. `record` records what Vulkan does with the
    /// image of a slot, which is in `TRANSFER_SRC_OPTIMAL`; the resources that it uses outlive the
    /// result.
    pub(crate) fn new(
        gpu: &'g Gpu,
        slots: usize,
        extent: [u32; 2],
        record: impl Fn(usize, vk::Image, vk::CommandBuffer),
    ) -> Result<Self> {
        let (device, cuda) = (&gpu.device, gpu.cuda()?);
        let exports = Exports::new(device);
        let module = Module::load(cuda, Module::BENCH)?;
        let ring = Self {
            slots: (0..slots).map(|_| SharedImage::new(device, cuda, &exports, extent)).collect::<Result<_>>()?,
            commands: Commands::new(device, device.queue(), slots)?,
            computed: Timeline::new(gpu, &exports)?,
            rendered: Timeline::new(gpu, &exports)?,
            stream: Stream::new(cuda)?,
            paint: module.kernel(c"paint")?,
            extent,
            frames: 0,
            device,
            _module: module,
        };
        let family = device.queue().family();
        for (slot, image) in ring.slots.iter().enumerate() {
            let image = image.as_raw();
            let [initial, acquire, enter, leave, release] = barriers(image, family);
            let barrier = |commands, barrier| {
                let barriers = [barrier];
                let dependency = vk::DependencyInfo::default().image_memory_barriers(&barriers);
                // SAFETY: recording; VUID-VkImageMemoryBarrier2-image-01932: a live image with
                // memory.
                unsafe { device.as_raw().cmd_pipeline_barrier2(commands, &dependency) };
            };
            let record = |commands| {
                barrier(commands, acquire);
                barrier(commands, enter);
                record(slot, image, commands);
                barrier(commands, leave);
                barrier(commands, release);
            };
            // SAFETY: not submitted yet.
            unsafe { ring.commands.record(slot, vk::CommandBufferUsageFlags::SIMULTANEOUS_USE, record) }?;
            let give = |commands| {
                barrier(commands, initial);
                barrier(commands, release);
            };
            // SAFETY: barriers of an image that has not been used yet, and which is freed only
            // after they have run.
            unsafe { device.run_once(device.queue(), "giving an image over", LIMIT, give) }?;
        }
        Ok(ring)
    }
}

/// Returns the barrier from a new image to `GENERAL`, and those of a frame: the acquire from CUDA,
/// the transition to the copy layout, the transition back, and the release to CUDA. No barrier
/// changes both the owner and the layout, because the other side has no matching barrier.
pub(crate) fn barriers(image: vk::Image, family: u32) -> [vk::ImageMemoryBarrier2<'static>; 5] {
    use vk::{AccessFlags2 as Access, ImageLayout as Layout};
    let stages = vk::PipelineStageFlags2::ALL_TRANSFER;
    let range = vk::ImageSubresourceRange {
        aspect_mask: vk::ImageAspectFlags::COLOR,
        base_mip_level: 0,
        level_count: 1,
        base_array_layer: 0,
        layer_count: 1,
    };
    let barrier = |from, to| {
        vk::ImageMemoryBarrier2::default()
            .image(image)
            .subresource_range(range)
            .src_stage_mask(stages)
            .dst_stage_mask(stages)
            .old_layout(from)
            .new_layout(to)
            .src_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
            .dst_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
    };
    let outside = vk::QUEUE_FAMILY_EXTERNAL;
    let held = barrier(Layout::GENERAL, Layout::GENERAL);
    [
        barrier(Layout::UNDEFINED, Layout::GENERAL).src_stage_mask(vk::PipelineStageFlags2::NONE),
        held.dst_access_mask(Access::TRANSFER_READ).src_queue_family_index(outside).dst_queue_family_index(family),
        barrier(Layout::GENERAL, Layout::TRANSFER_SRC_OPTIMAL).dst_access_mask(Access::TRANSFER_READ),
        barrier(Layout::TRANSFER_SRC_OPTIMAL, Layout::GENERAL).src_access_mask(Access::TRANSFER_READ),
        held.src_access_mask(Access::TRANSFER_READ)
            .dst_stage_mask(vk::PipelineStageFlags2::NONE)
            .src_queue_family_index(family)
            .dst_queue_family_index(outside),
    ]
}

impl FrameLoop for ImageRing<'_> {
    fn frame(&mut self) -> Result<()> {
        let slot = (self.frames % self.slots.len() as u64) as usize;
        let image = self.slots.get(slot).context("no such slot")?;
        let value = self.frames + 1;
        let stream = self.stream.as_raw();
        if let Some(before) = value.checked_sub(self.slots.len() as u64).filter(|value| *value > 0) {
            self.rendered.wait_on(stream, before)?;
        }
        let target = Target::Surface(image.surface());
        // SAFETY: the image has this extent and outlives the frame; the stream has waited for
        // Vulkan.
        unsafe { paint(self.paint, stream, target, self.extent, value as u16) }?;
        self.computed.signal_on(stream, value)?;
        // The acquire from another API happens in no narrower stage.
        let wait = self.computed.info(value, vk::PipelineStageFlags2::ALL_COMMANDS);
        let signal = self.rendered.info(value, vk::PipelineStageFlags2::ALL_COMMANDS);
        let commands = [self.commands.get(slot)?];
        let queue = self.device.queue();
        // SAFETY: the commands were recorded for this queue; their resources are dropped after a
        // drain; the values increase.
        unsafe { submit(self.device, queue, Some(wait), &commands, Some(signal), vk::Fence::null()) }?;
        self.frames = value;
        Ok(())
    }

    fn drain(&mut self) -> Result<()> {
        self.rendered.spin(self.frames)
    }
}

impl Drop for ImageRing<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.drain() {
            eprintln!("warning: frames by hand may still be running: {error:#}");
        }
    }
}
