//! The Vulkan side: draws the particles as light, converts the light to a picture, and copies the
//! picture to its destinations.
#![allow(unsafe_code)] // Records a turn's barriers, and queries the device.

use crate::gpu::commands::Commands;
use crate::gpu::output::{Copies, Output, Wanted};
use crate::gpu::pipeline::{Pipeline, PipelineInfo, Textures};
use crate::gpu::recorder::{Draw, ImageUse, Recorder, Target};
use crate::particles::particle::Particle;
use crate::particles::view::{Look, Style, View};
use anyhow::Result;
use bridge::ash::vk;
use bridge::{BufferAccess, ExportDevice, RenderTurn, TimelinePoint};
use vk_local::{LocalBuffer, LocalImage, LocalImageInfo};

use super::compute::Shared;
use super::glow::Glow;

/// The format of light, which every device can blend.
pub const LIGHT: vk::Format = vk::Format::R16G16B16A16_SFLOAT;
/// The format of accumulated light if there are so many particles, in total or per pixel, that half
/// floats would lose the contribution of the last of them.
const MUCH_LIGHT: vk::Format = vk::Format::R32G32B32A32_SFLOAT;
/// The number of particles above which this format is used.
const MANY: u32 = 2_000_000;
/// The number of particles per pixel above which this format is used.
const MANY_PER_PIXEL: u32 = 2;
/// Vulkan's uses of the shared buffer: it draws from it, and sometimes reads it back.
pub const ACCESSES: BufferAccess = BufferAccess::VERTEX_INPUT.union(BufferAccess::TRANSFER_READ);

/// Draws frames. Dropping it frees everything immediately, so wait for the GPU first.
pub struct Renderer {
    commands: Commands,
    points: Pipeline,
    finish: Finish,
    light: LocalImage,
    output: Output,
    look: Look,
}

/// The conversion from light to a picture.
enum Finish {
    Glow(Box<Glow>),
    /// The light is already a picture.
    Copy(Pipeline, Textures),
}

/// The particles of one frame: their location, and the commands before and after their use.
pub trait Points {
    /// Returns the slot, which also selects the command buffer and the read-back buffer.
    fn slot(&self) -> usize;

    /// Returns the buffer of [`Particle`]s, for vertex input and as the source of copies.
    fn buffer(&self) -> vk::Buffer;

    /// Returns the number of particles.
    fn count(&self) -> u32;

    /// Records the commands that make the buffer usable.
    ///
    /// # Safety
    /// `commands` is recording, outside of rendering, for the device's main queue, and is submitted
    /// with this frame.
    unsafe fn record_before(&self, commands: vk::CommandBuffer);

    /// Records the commands that return the buffer.
    ///
    /// # Safety
    /// As [`record_before`](Self::record_before).
    unsafe fn record_after(&self, commands: vk::CommandBuffer);
}

impl Points for RenderTurn<Shared> {
    fn slot(&self) -> usize {
        self.slot()
    }

    fn buffer(&self) -> vk::Buffer {
        self.resources().as_raw()
    }

    fn count(&self) -> u32 {
        self.resources().len() as u32
    }

    unsafe fn record_before(&self, commands: vk::CommandBuffer) {
        // SAFETY: the caller guarantees it.
        unsafe { self.record_acquire(commands) };
    }

    unsafe fn record_after(&self, commands: vk::CommandBuffer) {
        // SAFETY: the caller guarantees it.
        unsafe { self.record_release(commands) };
    }
}

impl Renderer {
    /// Creates a renderer for frames of `size` pixels with `particles` particles and `slots` frames
    /// in flight.
    pub fn new(
        device: &ExportDevice,
        look: Look,
        particles: u32,
        [width, height]: [u32; 2],
        slots: usize,
        copies: Copies,
    ) -> Result<Self> {
        let many = particles > MANY || particles / MANY_PER_PIXEL > width.saturating_mul(height);
        let much = many && look.style == Style::Sparks && blends(device, MUCH_LIGHT);
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
            output: Output::new(device, [width, height], slots, copies)?,
            look,
        })
    }

    /// Records a frame. The command buffer has to be submitted with the particles' turn.
    ///
    /// # Safety
    /// The GPU has finished the frame that used the slot before.
    pub unsafe fn record(
        &mut self,
        particles: &impl Points,
        view: &View,
        wanted: Wanted<'_>,
    ) -> Result<vk::CommandBuffer> {
        let Self { commands, points, finish, light, output, look } = self;
        // SAFETY: the caller guarantees it; each slot has its own command buffer.
        unsafe {
            commands.record(particles.slot(), |recorder| {
                draw(recorder, particles, points, light, view, look, wanted.sample);
                recorder.transition(light.as_raw(), ImageUse::Target, ImageUse::Texture);
                output.record(recorder, particles.slot(), wanted, |recorder, picture| match finish {
                    Finish::Glow(glow) => glow.record(recorder, picture),
                    Finish::Copy(pipeline, textures) => recorder.screen(picture, pipeline, textures, &[]),
                })
            })
        }
    }

    /// Submits the copy of a submitted frame's picture to the host, if the copy is a separate
    /// submission.
    ///
    /// # Safety
    /// As [`Output::send`].
    pub unsafe fn send(&mut self, slot: usize, wanted: Wanted<'_>, rendered: &TimelinePoint) -> Result<()> {
        // SAFETY: the caller guarantees it.
        unsafe { self.output.send(slot, wanted, rendered) }
    }

    /// Returns the picture that slot `slot` read back, as RGBA8.
    ///
    /// # Safety
    /// The GPU has finished the frame that used the slot last, and no frame is submitted in the
    /// slot while the picture is borrowed.
    pub unsafe fn picture(&self, slot: usize) -> Result<&[u8]> {
        // SAFETY: the caller guarantees it.
        unsafe { self.output.picture(slot) }
    }
}

/// Returns `true` if the device blends targets of `format` and samples them as textures.
fn blends(device: &ExportDevice, format: vk::Format) -> bool {
    let (instance, physical) = (device.instance(), device.physical().handle);
    // SAFETY: VUID-vkGetPhysicalDeviceFormatProperties-physicalDevice-parameter: the physical
    // device of this device.
    let there = unsafe { instance.get_physical_device_format_properties(physical, format) }.optimal_tiling_features;
    there.contains(vk::FormatFeatureFlags::COLOR_ATTACHMENT_BLEND | vk::FormatFeatureFlags::SAMPLED_IMAGE)
}

/// Draws the particles as points, between the commands before and after their use.
fn draw(
    recorder: &mut Recorder<'_>,
    particles: &impl Points,
    points: &Pipeline,
    light: &LocalImage,
    view: &View,
    look: &Look,
    copy: Option<&LocalBuffer>,
) {
    // SAFETY: the recorder's command buffer records outside of rendering, for the device's own
    // queue family, and is submitted with this frame.
    unsafe { particles.record_before(recorder.as_raw()) };
    if let Some(buffer) = copy {
        let size = u64::from(particles.count()) * size_of::<Particle>() as u64;
        recorder.copy_buffer(particles.buffer(), buffer, size);
        recorder.for_host(buffer);
    }
    recorder.discard(light.as_raw(), ImageUse::Texture, ImageUse::Target);
    let [r, g, b] = look.background;
    recorder.render(&Target { clear: Some([r, g, b, 1.0]), ..Target::of(light) }, |pass| {
        pass.draw(&Draw {
            pipeline: points,
            textures: None,
            constants: bytemuck::bytes_of(view),
            vertices: Some(particles.buffer()),
            count: particles.count(),
            instances: 1,
        });
    });
    // SAFETY: as above.
    unsafe { particles.record_after(recorder.as_raw()) };
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
