//! The Vulkan side: particles to light, light to a picture, and the picture to wherever it is wanted.
#![allow(unsafe_code)] // Records with a turn's barriers, asks the device.

use anyhow::{Context, Result};
use bridge::ash::vk;
use bridge::vk_export::{LocalBuffer, LocalImage, LocalImageInfo, MemoryLocation};
use bridge::{Consumer, ExportDevice, RenderTurn};
use bridge_examples::gpu::commands::Commands;
use bridge_examples::gpu::pipeline::{Pipeline, PipelineInfo, Textures};
use bridge_examples::gpu::recorder::{Draw, ImageUse, Recorder};
use bridge_examples::particles::particle::Particle;
use bridge_examples::particles::view::{Look, Style, View};

use crate::compute::Shared;
use crate::glow::{Glow, screen};

/// What light is kept in: every device blends it.
pub(crate) const LIGHT: vk::Format = vk::Format::R16G16B16A16_SFLOAT;
/// What light adds up in when there are so many particles that half floats would swallow the last of them.
const MUCH_LIGHT: vk::Format = vk::Format::R32G32B32A32_SFLOAT;
/// How many are so many.
const MANY: u32 = 2_000_000;
/// What a finished picture is: sRGB values as they are.
const PICTURE: vk::Format = vk::Format::R8G8B8A8_UNORM;

/// How Vulkan uses the shared buffer: it draws from it, and sometimes reads it back.
pub(crate) const CONSUMER: Consumer = Consumer::VERTEX_INPUT.union(Consumer::TRANSFER_READ);

/// What becomes of a frame besides the picture in the target.
#[derive(Clone, Copy, Default)]
pub(crate) struct Wanted<'a> {
    /// The picture goes to the slot's read-back buffer.
    pub(crate) picture: bool,
    /// The particles go there, as Vulkan sees them.
    pub(crate) particles: Option<&'a LocalBuffer>,
    /// The picture goes to a window's image, whose contents are gone.
    pub(crate) window: Option<(vk::Image, vk::Extent2D)>,
}

/// Draws frames. Dropping it frees everything at once: wait for the GPU before.
pub(crate) struct Renderer {
    commands: Commands,
    points: Pipeline,
    finish: Finish,
    light: LocalImage,
    picture: LocalImage,
    pictures: Vec<LocalBuffer>,
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
        let image = |name, format, usage| {
            let usage = usage | vk::ImageUsageFlags::COLOR_ATTACHMENT;
            LocalImage::new(device, &LocalImageInfo { name, format, extent, usage })
        };
        let light = image("light", format, vk::ImageUsageFlags::SAMPLED)?;
        let picture = image("picture", PICTURE, vk::ImageUsageFlags::TRANSFER_SRC)?;
        let finish = match look.style {
            Style::Sparks => Finish::Glow(Box::new(Glow::new(device, &light, PICTURE)?)),
            Style::Tiles => {
                let info = PipelineInfo { name: "copy", target: PICTURE, textures: 1, ..Default::default() };
                let pipeline = Pipeline::new(device, &info)?;
                let textures = Textures::new(device, &pipeline, &[&light])?;
                Finish::Copy(pipeline, textures)
            }
        };
        let bytes = u64::from(width) * u64::from(height) * 4;
        let pictures = (0..slots).map(|slot| read_back(device, &format!("picture[{slot}]"), bytes));
        Ok(Self {
            commands: Commands::new(device, slots)?,
            points: points(device, look.style, format)?,
            finish,
            light,
            picture,
            pictures: pictures.collect::<Result<_>>()?,
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
        let Self { commands, points, finish, light, picture, pictures, look } = self;
        let read_back = pictures.get(turn.slot()).filter(|_| wanted.picture);
        // SAFETY: handed on to the caller; slots and command buffers go together.
        unsafe {
            commands.record(turn.slot(), |recorder| {
                draw(recorder, turn, points, light, view, look, wanted.particles);
                recorder.transition(light.as_raw(), ImageUse::Target, ImageUse::Texture);
                recorder.discard(picture.as_raw(), ImageUse::CopySource, ImageUse::Target);
                match finish {
                    Finish::Glow(glow) => glow.record(recorder, picture),
                    Finish::Copy(pipeline, textures) => screen(recorder, picture, pipeline, textures, &[]),
                }
                recorder.transition(picture.as_raw(), ImageUse::Target, ImageUse::CopySource);
                if let Some(buffer) = read_back {
                    recorder.copy_image(picture, buffer);
                    recorder.for_host(buffer);
                }
                if let Some((image, extent)) = wanted.window {
                    recorder.discard(image, ImageUse::CopyTarget, ImageUse::CopyTarget);
                    recorder.clear(image);
                    recorder.blit(picture, image, fitted(picture.extent(), extent));
                    recorder.transition(image, ImageUse::CopyTarget, ImageUse::Present);
                }
                Ok(())
            })
        }
    }

    /// The picture that slot `slot` read back, as RGBA8. The GPU is done with the frame.
    pub(crate) fn picture(&self, slot: usize) -> Result<&[u8]> {
        self.pictures.get(slot).and_then(LocalBuffer::bytes).context("the read-back memory of a picture is not mapped")
    }
}

/// Whether the device blends targets of `format` and reads them as textures.
fn blends(device: &ExportDevice, format: vk::Format) -> bool {
    let (instance, physical) = (device.instance(), device.physical().handle);
    // SAFETY: VUID-vkGetPhysicalDeviceFormatProperties-physicalDevice-parameter: the device's own.
    let there = unsafe { instance.get_physical_device_format_properties(physical, format) }.optimal_tiling_features;
    there.contains(vk::FormatFeatureFlags::COLOR_ATTACHMENT_BLEND | vk::FormatFeatureFlags::SAMPLED_IMAGE)
}

/// A buffer of `size` bytes that the host reads.
pub(crate) fn read_back(device: &ExportDevice, name: &str, size: u64) -> Result<LocalBuffer> {
    let usage = vk::BufferUsageFlags::TRANSFER_DST;
    Ok(LocalBuffer::new(device, name, size, usage, MemoryLocation::GpuToCpu)?)
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
    recorder.render(light.view(), light.extent(), Some([r, g, b, 1.0]), |pass| {
        pass.draw(&Draw {
            pipeline: points,
            textures: None,
            constants: bytemuck::bytes_of(view),
            vertices: Some(shared.as_raw()),
            count: shared.len() as u32,
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
    };
    Pipeline::new(device, &info)
}

/// The largest area of the proportions of `picture` in the middle of `window`.
fn fitted(picture: vk::Extent2D, window: vk::Extent2D) -> vk::Rect2D {
    let (w, h) = (u64::from(picture.width), u64::from(picture.height));
    let wide = u64::from(window.width) * h >= u64::from(window.height) * w;
    let (width, height) = if wide {
        ((u64::from(window.height) * w / h).max(1) as u32, window.height)
    } else {
        (window.width, (u64::from(window.width) * h / w).max(1) as u32)
    };
    vk::Rect2D {
        offset: vk::Offset2D { x: ((window.width - width) / 2) as i32, y: ((window.height - height) / 2) as i32 },
        extent: vk::Extent2D { width, height },
    }
}
