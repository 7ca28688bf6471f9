//! The Vulkan side: draws the scene to its image, draws the filtered image as a picture, and copies
//! the picture to its destinations.
#![allow(unsafe_code)] // Records with a turn's barriers.

use crate::gpu::commands::Commands;
use crate::gpu::depth::Depth;
use crate::gpu::output::{Copies, Output, Wanted};
use crate::gpu::pipeline::{Pipeline, PipelineInfo, Textures};
use crate::gpu::recorder::{Draw, ImageUse, Recorder, Target};
use crate::gpu::require;
use crate::postprocess::bloom::Bloom;
use crate::postprocess::knot::{BACKGROUND, View};
use anyhow::{Context, Result};
use bridge::ash::vk;
use bridge::vk_export::ImageAccess;
use bridge::{Compute, ExportDevice, RenderFirst, RenderTurn, TimelinePoint};
use vk_local::LocalBuffer;

use crate::postprocess::compute::Shared;

/// The format of both shared images, for `Texel`.
pub(crate) const LIGHT: vk::Format = vk::Format::R16G16B16A16_SFLOAT;
/// Vulkan's uses of the first image: it draws to it, and sometimes reads it back.
pub(crate) const SCENE: ImageAccess = ImageAccess::COLOR_ATTACHMENT.union(ImageAccess::TRANSFER_READ);
/// Vulkan's use of the second image: a shader samples it.
pub(crate) const PICTURE: ImageAccess = ImageAccess::SAMPLED;

/// Draws scenes and shows pictures. Dropping it frees everything immediately, so wait for the GPU
/// first.
pub(crate) struct Renderer {
    /// Two for each slot: one for the scene and one for the picture.
    commands: Commands,
    knot: Pipeline,
    orbs: Pipeline,
    show: Pipeline,
    depth: Depth,
    /// Each slot's filtered image as a texture of `show`; created when the slot is first used.
    pictures: Vec<Option<Textures>>,
    output: Output,
    copies: Copies,
    device: ExportDevice,
}

impl Renderer {
    /// Creates a renderer for scenes and pictures with the parameters of `bloom` and `slots` frames
    /// in flight.
    pub(crate) fn new(compute: &Compute, bloom: &Bloom, slots: usize, copies: Copies) -> Result<Self> {
        use vk::FormatFeatureFlags as Features;
        require(compute, LIGHT, Features::COLOR_ATTACHMENT, "draw to an image of half floats")?;
        require(compute, LIGHT, Features::SAMPLED_IMAGE, "sample an image of half floats")?;
        let device = compute.device();
        let drawn = |name, vertex, fragment| {
            let info = PipelineInfo {
                name,
                vertex,
                fragment,
                topology: vk::PrimitiveTopology::TRIANGLE_STRIP,
                target: LIGHT,
                depth: true,
                constants: size_of::<View>() as u32,
                ..Default::default()
            };
            Pipeline::new(device, &info)
        };
        let show = PipelineInfo {
            name: "show",
            fragment: "show.frag",
            target: Output::FORMAT,
            textures: 1,
            ..Default::default()
        };
        Ok(Self {
            // One scene is drawn ahead.
            commands: Commands::new(device, 2 * (slots + 1))?,
            knot: drawn("knot", "knot.vert", "knot.frag")?,
            orbs: drawn("orbs", "orb.vert", "orb.frag")?,
            show: Pipeline::new(device, &show)?,
            depth: Depth::new(device, bloom.scene())?,
            pictures: std::iter::repeat_with(|| None).take(slots).collect(),
            output: Output::new(device, bloom.size, slots, copies)?,
            copies,
            device: device.clone(),
        })
    }

    /// Changes the size of scenes and pictures. The slots stay the same; the images that the
    /// exchanges share are new.
    ///
    /// # Safety
    /// The GPU has finished every frame.
    pub(crate) unsafe fn resize(&mut self, bloom: &Bloom) -> Result<()> {
        self.depth = Depth::new(&self.device, bloom.scene())?;
        self.output = Output::new(&self.device, bloom.size, self.pictures.len(), self.copies)?;
        self.pictures.fill_with(|| None);
        Ok(())
    }

    /// Records the scene of a turn, and its copy to `sample`. The command buffer has to be
    /// submitted with the turn.
    ///
    /// # Safety
    /// The GPU has finished the frame that used the turn's slot before.
    pub(crate) unsafe fn draw(
        &mut self,
        turn: &RenderTurn<Shared, RenderFirst>,
        view: &View,
        sample: Option<&LocalBuffer>,
    ) -> Result<vk::CommandBuffer> {
        let Self { commands, knot, orbs, depth, .. } = self;
        let shared = turn.resources();
        let [width, height, _] = shared.extent();
        let extent = vk::Extent2D { width, height };
        let [r, g, b] = BACKGROUND;
        let target = Target {
            view: shared.view().context("the shared image cannot be drawn to")?,
            layout: shared.layout(),
            extent,
            clear: Some([r, g, b, 1.0]),
            depth: Some(depth),
        };
        let record = |recorder: &mut Recorder<'_>| {
            // SAFETY: the recorder's command buffer records outside of rendering, for the device's
            // own queue family, and is submitted with this turn.
            unsafe { turn.record_acquire(recorder.as_raw()) };
            recorder.render(&target, |pass| {
                for (pipeline, view) in [(&*knot, *view), (&*orbs, view.of_orbs())] {
                    let ([count, instances], constants) = (view.strips(), bytemuck::bytes_of(&view));
                    pass.draw(&Draw { pipeline, textures: None, constants, vertices: None, count, instances });
                }
            });
            if let Some(buffer) = sample {
                recorder.hand_on(ImageUse::Target, ImageUse::CopySource);
                recorder.copy_image(shared.as_raw(), shared.layout(), extent, buffer);
                recorder.for_host(buffer);
            }
            // SAFETY: as above.
            unsafe { turn.record_release(recorder.as_raw()) };
            Ok(())
        };
        // SAFETY: the caller guarantees it; each slot has its own pair of command buffers.
        unsafe { commands.record(2 * turn.slot(), record) }
    }

    /// Records the picture of a turn, and its copies to the destinations in `wanted`. The command
    /// buffer has to be submitted with the turn.
    ///
    /// # Safety
    /// As [`draw`](Self::draw).
    pub(crate) unsafe fn show(&mut self, turn: &RenderTurn<Shared>, wanted: Wanted<'_>) -> Result<vk::CommandBuffer> {
        let Self { commands, show, pictures, output, device, .. } = self;
        let shared = turn.resources();
        let textures = match pictures.get_mut(turn.slot()).context("no such slot")? {
            Some(textures) => textures,
            none => {
                let view = shared.view().context("the shared image cannot be sampled")?;
                none.insert(Textures::of_views(device, show, &[(view, shared.layout())])?)
            }
        };
        let record = |recorder: &mut Recorder<'_>| {
            output.record(recorder, turn.slot(), wanted, |recorder, picture| {
                // SAFETY: the recorder's command buffer records outside of rendering, for the
                // device's own queue family, and is submitted with this turn.
                unsafe { turn.record_acquire(recorder.as_raw()) };
                recorder.screen(picture, show, textures, &[]);
                // SAFETY: as above.
                unsafe { turn.record_release(recorder.as_raw()) };
            })
        };
        // SAFETY: the caller guarantees it; each slot has its own pair of command buffers.
        unsafe { commands.record(2 * turn.slot() + 1, record) }
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
