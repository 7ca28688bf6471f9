//! The Vulkan side: wraps the image around a ring, converts its light to a picture, and copies the
//! picture to its destinations.
#![allow(unsafe_code)] // Records with a turn's barriers.

use crate::gpu::commands::Commands;
use crate::gpu::depth::Depth;
use crate::gpu::output::{Copies, Output, Wanted};
use crate::gpu::pipeline::{Pipeline, PipelineInfo, Textures};
use crate::gpu::recorder::{Draw, ImageUse, Recorder, Target};
use crate::gpu::require;
use crate::texture::ring::{Develop, View};
use anyhow::{Context, Result};
use bridge::ash::vk;
use bridge::vk_export::ImageAccess;
use bridge::{Compute, ExportDevice, RenderTurn, TimelinePoint};
use vk_local::{LocalBuffer, LocalImage, LocalImageInfo};

use crate::texture::compute::Shared;

/// The format of the shared image, for `Texel`.
pub(crate) const FIELD: vk::Format = vk::Format::R16G16B16A16_SFLOAT;
/// Vulkan's uses of the shared image: shaders sample it, and sometimes it is read back.
pub(crate) const ACCESSES: ImageAccess = ImageAccess::SAMPLED.union(ImageAccess::TRANSFER_READ);
/// The format of light.
const LIGHT: vk::Format = vk::Format::R16G16B16A16_SFLOAT;

/// Draws frames. Dropping it frees everything immediately, so wait for the GPU first.
pub(crate) struct Renderer {
    commands: Commands,
    ring: Ring,
    develop: Pipeline,
    light: LocalImage,
    developed: Textures,
    info: Develop,
    output: Output,
    device: ExportDevice,
}

/// The pass that draws the ring.
struct Ring {
    pipeline: Pipeline,
    depth: Depth,
    /// Each slot's image as a texture of the pipeline; created when the slot is first used.
    fields: Vec<Option<Textures>>,
}

impl Renderer {
    /// Creates a renderer for frames of `size` pixels with `samples` texels of light on each side,
    /// and `slots` frames in flight.
    pub(crate) fn new(compute: &Compute, size: [u32; 2], samples: u32, slots: usize, copies: Copies) -> Result<Self> {
        let sampled = vk::FormatFeatureFlags::SAMPLED_IMAGE | vk::FormatFeatureFlags::SAMPLED_IMAGE_FILTER_LINEAR;
        require(compute, FIELD, sampled, "sample an image of half floats with a linear filter")?;
        let device = compute.device();
        let [width, height] = size.map(|side| side * samples);
        let light = LocalImage::new(
            device,
            &LocalImageInfo {
                name: "light",
                format: LIGHT,
                extent: vk::Extent2D { width, height },
                usage: vk::ImageUsageFlags::SAMPLED | vk::ImageUsageFlags::COLOR_ATTACHMENT,
            },
        )?;
        let info = PipelineInfo {
            name: "ring",
            vertex: "ring.vert",
            fragment: "ring.frag",
            topology: vk::PrimitiveTopology::TRIANGLE_STRIP,
            target: LIGHT,
            depth: true,
            textures: 1,
            sampled: true,
            constants: size_of::<View>() as u32,
            ..Default::default()
        };
        let pipeline = Pipeline::new(device, &info)?;
        let info = PipelineInfo {
            name: "develop",
            fragment: "develop.frag",
            target: Output::FORMAT,
            textures: 1,
            constants: size_of::<Develop>() as u32,
            ..Default::default()
        };
        let develop = Pipeline::new(device, &info)?;
        Ok(Self {
            commands: Commands::new(device, slots)?,
            ring: Ring {
                pipeline,
                depth: Depth::new(device, [width, height])?,
                fields: std::iter::repeat_with(|| None).take(slots).collect(),
            },
            developed: Textures::new(device, &develop, &[&light])?,
            develop,
            light,
            info: Develop::new(samples),
            output: Output::new(device, size, slots, copies)?,
            device: device.clone(),
        })
    }

    /// Records a turn's frame. The command buffer has to be submitted with the turn.
    ///
    /// # Safety
    /// The GPU has finished the frame that used the turn's slot before.
    pub(crate) unsafe fn record(
        &mut self,
        turn: &RenderTurn<Shared>,
        view: &View,
        wanted: Wanted<'_>,
    ) -> Result<vk::CommandBuffer> {
        let Self { commands, ring, develop, light, developed, info, output, device } = self;
        // SAFETY: the caller guarantees it; each slot has its own command buffer.
        unsafe {
            commands.record(turn.slot(), |recorder| {
                ring.record(recorder, device, turn, light, view, wanted.sample)?;
                recorder.transition(light.as_raw(), ImageUse::Target, ImageUse::Texture);
                output.record(recorder, turn.slot(), wanted, |recorder, picture| {
                    recorder.screen(picture, develop, developed, bytemuck::bytes_of(info));
                })
            })
        }
    }

    /// Submits the copy of a submitted frame's picture to the host, if the copy is a separate
    /// submission.
    ///
    /// # Safety
    /// As [`Output::send`].
    pub(crate) unsafe fn send(&mut self, slot: usize, wanted: Wanted<'_>, rendered: &TimelinePoint) -> Result<()> {
        // SAFETY: the caller guarantees it.
        unsafe { self.output.send(slot, wanted, rendered) }
    }

    /// Returns the picture that slot `slot` read back, as RGBA8.
    ///
    /// # Safety
    /// The GPU has finished the frame that used the slot last, and no frame is submitted in the
    /// slot while the picture is borrowed.
    pub(crate) unsafe fn picture(&self, slot: usize) -> Result<&[u8]> {
        // SAFETY: the caller guarantees it.
        unsafe { self.output.picture(slot) }
    }
}

impl Ring {
    /// Records the turn's barriers and between them the drawing of the image as a ring to `light`,
    /// and a copy of the image to `sample`.
    fn record(
        &mut self,
        recorder: &mut Recorder<'_>,
        device: &ExportDevice,
        turn: &RenderTurn<Shared>,
        light: &LocalImage,
        view: &View,
        sample: Option<&LocalBuffer>,
    ) -> Result<()> {
        let Self { pipeline, depth, fields } = self;
        let shared = turn.resources();
        let field = fields.get_mut(turn.slot()).context("no such slot")?;
        if field.is_none() {
            let image = shared.view().context("the shared image cannot be sampled")?;
            *field = Some(Textures::of_views(device, pipeline, &[(image, shared.layout())])?);
        }
        // SAFETY: the recorder's command buffer records outside of rendering, for the device's own
        // queue family, and is submitted with this turn.
        unsafe { turn.record_acquire(recorder.as_raw()) };
        if let Some(buffer) = sample {
            let [width, height, _] = shared.extent();
            let extent = vk::Extent2D { width, height };
            recorder.copy_image(shared.as_raw(), shared.layout(), extent, buffer);
            recorder.for_host(buffer);
        }
        recorder.discard(light.as_raw(), ImageUse::Texture, ImageUse::Target);
        let target = Target { clear: Some([0.0; 4]), depth: Some(depth), ..Target::of(light) };
        let [count, instances] = view.strips();
        let constants = bytemuck::bytes_of(view);
        recorder.render(&target, |pass| {
            pass.draw(&Draw { pipeline, textures: field.as_ref(), constants, vertices: None, count, instances });
        });
        // SAFETY: as above.
        unsafe { turn.record_release(recorder.as_raw()) };
        Ok(())
    }
}
