//! The Vulkan side: particles to light, light to a picture, and the picture to wherever it is wanted.
#![allow(unsafe_code)] // Records with a turn's barriers, asks the device.

use anyhow::Result;
use bridge::ash::vk;
use bridge::vk_export::{LocalBuffer, LocalImage, LocalImageInfo};
use bridge::{Consumer, ExportDevice, RenderTurn};
use bridge_examples::gpu::commands::Commands;
use bridge_examples::gpu::output::{Output, Wanted};
use bridge_examples::gpu::pipeline::{Pipeline, PipelineInfo, Textures};
use bridge_examples::gpu::recorder::{Draw, ImageUse, Recorder, Target};
use bridge_examples::particles::particle::Particle;
use bridge_examples::particles::view::{Look, Style, View};

use crate::compute::Shared;
use crate::glow::Glow;

/// What light is kept in: every device blends it.
pub(crate) const LIGHT: vk::Format = vk::Format::R16G16B16A16_SFLOAT;
/// What light adds up in when there are so many particles that half floats would swallow the last of them.
const MUCH_LIGHT: vk::Format = vk::Format::R32G32B32A32_SFLOAT;
/// How many are so many.
const MANY: u32 = 2_000_000;
/// How Vulkan uses the shared buffer: it draws from it, and sometimes reads it back.
pub(crate) const CONSUMER: Consumer = Consumer::VERTEX_INPUT.union(Consumer::TRANSFER_READ);

/// Draws frames. Dropping it frees everything at once: wait for the GPU before.
pub(crate) struct Renderer {
    commands: Commands,
    points: Pipeline,
    finish: Finish,
    light: LocalImage,
    output: Output,
    look: Look,
}

/// How light becomes a picture.
enum Finish {
    Glow(Box<Glow>),
    /// It is one already.
    Copy(Pipeline, Textures),
}

impl Renderer {
    /// For frames of `size` pixels with so many particles, `slots` frames in flight.
    pub(crate) fn new(
        device: &ExportDevice,
        look: Look,
        particles: u32,
        [width, height]: [u32; 2],
        slots: usize,
    ) -> Result<Self> {
        let much = particles > MANY && look.style == Style::Sparks && blends(device, MUCH_LIGHT);
        let format = if much { MUCH_LIGHT } else { LIGHT };
        let extent = vk::Extent2D { width, height };
        let usage = vk::ImageUsageFlags::SAMPLED | vk::ImageUsageFlags::COLOR_ATTACHMENT;
        let light = LocalImage::new(device, &LocalImageInfo { name: "light", format, extent, usage })?;
        let finish = match look.style {
            Style::Sparks => Finish::Glow(Box::new(Glow::new(device, &light, Output::FORMAT)?)),
            Style::Tiles => {
                let info = PipelineInfo { name: "copy", target: Output::FORMAT, textures: 1, ..Default::default() };
                let pipeline = Pipeline::new(device, &info)?;
                let textures = Textures::new(device, &pipeline, &[&light])?;
                Finish::Copy(pipeline, textures)
            }
        };
        Ok(Self {
            commands: Commands::new(device, slots)?,
            points: points(device, look.style, format)?,
            finish,
            light,
            output: Output::new(device, [width, height], slots)?,
            look,
        })
    }

    /// Records a turn's frame. The command buffer goes with the turn.
    ///
    /// # Safety
    /// The GPU is done with the frame that used the turn's slot before.
    pub(crate) unsafe fn record(
        &mut self,
        turn: &RenderTurn<Shared>,
        view: &View,
        wanted: Wanted<'_>,
    ) -> Result<vk::CommandBuffer> {
        let Self { commands, points, finish, light, output, look } = self;
        // SAFETY: handed on to the caller; slots and command buffers go together.
        unsafe {
            commands.record(turn.slot(), |recorder| {
                draw(recorder, turn, points, light, view, look, wanted.sample);
                recorder.transition(light.as_raw(), ImageUse::Target, ImageUse::Texture);
                output.record(recorder, turn.slot(), wanted, |recorder, picture| match finish {
                    Finish::Glow(glow) => glow.record(recorder, picture),
                    Finish::Copy(pipeline, textures) => recorder.screen(picture, pipeline, textures, &[]),
                });
                Ok(())
            })
        }
    }

    /// The picture that slot `slot` read back, as RGBA8. The GPU is done with the frame.
    pub(crate) fn picture(&self, slot: usize) -> Result<&[u8]> {
        self.output.picture(slot)
    }
}

/// Whether the device blends targets of `format` and reads them as textures.
fn blends(device: &ExportDevice, format: vk::Format) -> bool {
    let (instance, physical) = (device.instance(), device.physical().handle);
    // SAFETY: VUID-vkGetPhysicalDeviceFormatProperties-physicalDevice-parameter: the device's own.
    let there = unsafe { instance.get_physical_device_format_properties(physical, format) }.optimal_tiling_features;
    there.contains(vk::FormatFeatureFlags::COLOR_ATTACHMENT_BLEND | vk::FormatFeatureFlags::SAMPLED_IMAGE)
}

/// Between the turn's barriers: the particles as points.
fn draw(
    recorder: &mut Recorder<'_>,
    turn: &RenderTurn<Shared>,
    points: &Pipeline,
    light: &LocalImage,
    view: &View,
    look: &Look,
    particles: Option<&LocalBuffer>,
) {
    let shared = turn.resources();
    // SAFETY: the recorder's command buffer records outside of rendering, for the device's own queue family, and goes
    // with this turn.
    unsafe { turn.record_acquire(recorder.as_raw()) };
    if let Some(buffer) = particles {
        recorder.copy_buffer(shared.as_raw(), buffer, shared.size());
        recorder.for_host(buffer);
    }
    recorder.discard(light.as_raw(), ImageUse::Texture, ImageUse::Target);
    let [r, g, b] = look.background;
    recorder.render(&Target { clear: Some([r, g, b, 1.0]), ..Target::of(light) }, |pass| {
        pass.draw(&Draw {
            pipeline: points,
            textures: None,
            constants: bytemuck::bytes_of(view),
            vertices: Some(shared.as_raw()),
            count: shared.len() as u32,
            instances: 1,
        });
    });
    // SAFETY: as above.
    unsafe { turn.record_release(recorder.as_raw()) };
}

fn points(device: &ExportDevice, style: Style, target: vk::Format) -> Result<Pipeline> {
    let attribute = |location, format, offset| {
        vk::VertexInputAttributeDescription::default().location(location).format(format).offset(offset)
    };
    let attributes = [
        attribute(0, vk::Format::R32G32B32_SFLOAT, std::mem::offset_of!(Particle, position) as u32),
        attribute(1, vk::Format::R8G8B8A8_UNORM, std::mem::offset_of!(Particle, color) as u32),
    ];
    let blend = |source, under| {
        vk::PipelineColorBlendAttachmentState::default()
            .blend_enable(true)
            .src_color_blend_factor(source)
            .dst_color_blend_factor(under)
            .src_alpha_blend_factor(vk::BlendFactor::ZERO)
            .dst_alpha_blend_factor(vk::BlendFactor::ONE)
    };
    let (vertex, fragment, blend) = match style {
        Style::Sparks => ("spark.vert", "spark.frag", blend(vk::BlendFactor::ONE, vk::BlendFactor::ONE)),
        Style::Tiles => {
            ("tile.vert", "tile.frag", blend(vk::BlendFactor::SRC_ALPHA, vk::BlendFactor::ONE_MINUS_SRC_ALPHA))
        }
    };
    let info = PipelineInfo {
        name: "points",
        vertex,
        fragment,
        topology: vk::PrimitiveTopology::POINT_LIST,
        attributes: &attributes,
        stride: size_of::<Particle>() as u32,
        blend: Some(blend),
        target,
        textures: 0,
        constants: size_of::<View>() as u32,
        ..Default::default()
    };
    Pipeline::new(device, &info)
}
