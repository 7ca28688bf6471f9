//! Drawing and showing as blits of whole images: work for the graphics queue that needs no
//! pipeline.
#![allow(unsafe_code)] // Vulkan calls.

use anyhow::{Context, Result};
use bridge::ExportDevice;
use bridge::ash::vk;
use vk_local::{LocalImage, LocalImageInfo};

use super::commands::{Commands, submit};
use super::fence::Fence;
use crate::harness::LIMIT;
use crate::harness::frames::FrameLoop;

/// The format of the drawn images.
pub(crate) const FORMAT: vk::Format = vk::Format::R16G16B16A16_SFLOAT;
/// Number of blits in a drawing.
const TIMES: usize = 16;

/// The usages of blits, and one that allows the view that `LocalImage` creates.
const USAGE: vk::ImageUsageFlags = vk::ImageUsageFlags::from_raw(
    vk::ImageUsageFlags::TRANSFER_SRC.as_raw()
        | vk::ImageUsageFlags::TRANSFER_DST.as_raw()
        | vk::ImageUsageFlags::SAMPLED.as_raw(),
);

const TARGET: vk::ImageLayout = vk::ImageLayout::TRANSFER_DST_OPTIMAL;
const SOURCE: vk::ImageLayout = vk::ImageLayout::TRANSFER_SRC_OPTIMAL;

/// An image to draw with, and a screen to show on.
pub(crate) struct Blits {
    brush: LocalImage,
    screen: LocalImage,
    device: ExportDevice,
}

impl Blits {
    pub(crate) fn new(device: &ExportDevice, [width, height]: [u32; 2]) -> Result<Self> {
        let extent = vk::Extent2D { width, height };
        let usage = USAGE;
        let image = |name, format| LocalImage::new(device, &LocalImageInfo { name, format, extent, usage });
        let blits = Self {
            brush: image("brush", FORMAT)?,
            screen: image("screen", vk::Format::R8G8B8A8_UNORM)?,
            device: device.clone(),
        };
        let layouts = |commands| {
            blits.transition(commands, blits.brush.as_raw(), vk::ImageLayout::UNDEFINED, SOURCE);
            blits.transition(commands, blits.screen.as_raw(), vk::ImageLayout::UNDEFINED, TARGET);
        };
        // SAFETY: the images live until the commands have run.
        unsafe { device.run_once(device.queue(), "layouts", LIMIT, layouts) }?;
        Ok(blits)
    }

    /// Records drawing into an image of the same size.
    pub(crate) fn draw(&self, commands: vk::CommandBuffer, image: vk::Image, layout: vk::ImageLayout) {
        for time in 0..TIMES {
            if time > 0 {
                self.transition(commands, image, layout, layout);
            }
            self.blit(commands, (self.brush.as_raw(), SOURCE), (image, layout));
        }
    }

    /// Records showing an image of the same size.
    pub(crate) fn show(&self, commands: vk::CommandBuffer, image: vk::Image, layout: vk::ImageLayout) {
        self.transition(commands, self.screen.as_raw(), TARGET, TARGET);
        self.blit(commands, (image, layout), (self.screen.as_raw(), TARGET));
    }

    fn blit(&self, commands: vk::CommandBuffer, from: (vk::Image, vk::ImageLayout), to: (vk::Image, vk::ImageLayout)) {
        let vk::Extent2D { width, height } = self.brush.extent();
        let layers = vk::ImageSubresourceLayers {
            aspect_mask: vk::ImageAspectFlags::COLOR,
            layer_count: 1,
            ..Default::default()
        };
        let whole = [vk::Offset3D::default(), vk::Offset3D { x: width as i32, y: height as i32, z: 1 }];
        let region = vk::ImageBlit::default()
            .src_subresource(layers)
            .src_offsets(whole)
            .dst_subresource(layers)
            .dst_offsets(whole);
        let raw = self.device.as_raw();
        // SAFETY: VUID-vkCmdBlitImage-srcOffset-00243 and the corresponding rules: both images have
        // this size, and are in these layouts.
        unsafe { raw.cmd_blit_image(commands, from.0, from.1, to.0, to.1, &[region], vk::Filter::NEAREST) };
    }

    /// Records a barrier between transfers of an image.
    fn transition(&self, commands: vk::CommandBuffer, image: vk::Image, from: vk::ImageLayout, to: vk::ImageLayout) {
        let (stages, access) = (vk::PipelineStageFlags2::ALL_TRANSFER, vk::AccessFlags2::TRANSFER_WRITE);
        let barrier = [vk::ImageMemoryBarrier2::default()
            .image(image)
            .subresource_range(vk::ImageSubresourceRange {
                aspect_mask: vk::ImageAspectFlags::COLOR,
                level_count: 1,
                layer_count: 1,
                ..Default::default()
            })
            .src_stage_mask(stages)
            .src_access_mask(access)
            .dst_stage_mask(stages)
            .dst_access_mask(access | vk::AccessFlags2::TRANSFER_READ)
            .old_layout(from)
            .new_layout(to)
            .src_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
            .dst_queue_family_index(vk::QUEUE_FAMILY_IGNORED)];
        let dependency = vk::DependencyInfo::default().image_memory_barriers(&barrier);
        // SAFETY: recording, outside of rendering.
        unsafe { self.device.cmd_pipeline_barrier2(commands, &dependency) };
    }
}

/// Frames that are drawn and shown in one submission, without a filter between.
pub(crate) struct Alone {
    commands: Commands,
    fences: Vec<Fence>,
    next: usize,
    pending: usize,
    // Used by the commands.
    _images: (Blits, Vec<LocalImage>),
    device: ExportDevice,
}

impl Alone {
    pub(crate) fn new(device: &ExportDevice, size: [u32; 2], slots: usize) -> Result<Self> {
        let blits = Blits::new(device, size)?;
        let usage = USAGE;
        let extent = vk::Extent2D { width: size[0], height: size[1] };
        let image = |_| LocalImage::new(device, &LocalImageInfo { name: "alone", format: FORMAT, extent, usage });
        let scenes: Vec<_> = (0..slots).map(image).collect::<Result<_, _>>()?;
        let commands = Commands::new(device, device.queue(), slots)?;
        for (slot, scene) in scenes.iter().enumerate() {
            let record = |commands| {
                blits.transition(commands, scene.as_raw(), vk::ImageLayout::UNDEFINED, TARGET);
                blits.draw(commands, scene.as_raw(), TARGET);
                blits.transition(commands, scene.as_raw(), TARGET, SOURCE);
                blits.show(commands, scene.as_raw(), SOURCE);
            };
            // SAFETY: not submitted yet.
            unsafe { commands.record(slot, vk::CommandBufferUsageFlags::empty(), record) }?;
        }
        let fences = (0..slots).map(|_| Fence::new(device)).collect::<Result<_>>()?;
        Ok(Self { commands, fences, next: 0, pending: 0, _images: (blits, scenes), device: device.clone() })
    }

    /// Waits for the oldest frame.
    fn wait(&mut self) -> Result<()> {
        let oldest = (self.next + self.fences.len() - self.pending) % self.fences.len();
        self.fences.get(oldest).context("no such frame")?.spin()?;
        self.pending -= 1;
        Ok(())
    }
}

impl FrameLoop for Alone {
    fn frame(&mut self) -> Result<()> {
        if self.pending == self.fences.len() {
            self.wait()?;
        }
        let (slot, fence) = (self.next, self.fences.get(self.next).context("no such frame")?);
        // SAFETY: the slot's last frame was waited for; the commands are for this queue, and live
        // until they are done.
        unsafe { submit(&self.device, self.device.queue(), None, &[self.commands.get(slot)?], None, fence.as_raw()) }?;
        self.next = (slot + 1) % self.fences.len();
        self.pending += 1;
        Ok(())
    }

    fn drain(&mut self) -> Result<()> {
        while self.pending > 0 {
            self.wait()?;
        }
        Ok(())
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        // An error means that the case ended before a drain.
        let _ = self.drain();
    }
}
