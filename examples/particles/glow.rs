//! Conversion from light to a picture on the GPU: `gather.frag`, `blur.frag`, `finish.frag`.

use crate::gpu::pipeline::{Pipeline, PipelineInfo, Textures};
use crate::gpu::recorder::{ImageUse, Recorder};
use crate::particles::finish::{BLUR, CELL, GLOW, GLOW_LIMIT, STRETCH, WHITE};
use anyhow::Result;
use bridge::ExportDevice;
use bridge::ash::vk;
use bytemuck::{Pod, Zeroable};
use vk_local::{LocalImage, LocalImageInfo};

use super::render::LIGHT;

/// The push constants of `blur.frag`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct BlurConstants {
    weights: [f32; 8],
    direction: [i32; 2],
}

/// One level of the glow: a smaller copy of the light, and a second image for its blur.
struct Level {
    image: LocalImage,
    other: LocalImage,
    /// The inputs of the gather pass and of the two blurs.
    source: Textures,
    across: Textures,
    down: Textures,
}

/// Two levels of glow and the pass that combines them with the light.
pub(super) struct Glow {
    gather: Pipeline,
    blur: Pipeline,
    finish: Pipeline,
    near: Level,
    far: Level,
    inputs: Textures,
}

impl Glow {
    /// Creates the passes for `light` and for targets of the format `target`.
    pub(super) fn new(device: &ExportDevice, light: &LocalImage, target: vk::Format) -> Result<Self> {
        let pipeline = |name, fragment, target, textures, constants| {
            let info = PipelineInfo { name, fragment, target, textures, constants, ..Default::default() };
            Pipeline::new(device, &info)
        };
        let gather = pipeline("gather", "gather.frag", LIGHT, 1, size_of::<f32>() as u32)?;
        let blur = pipeline("blur", "blur.frag", LIGHT, 1, size_of::<BlurConstants>() as u32)?;
        let finish = pipeline("finish", "finish.frag", target, 3, size_of::<[f32; 4]>() as u32)?;
        let near = Level::new(device, "near", light, &gather, &blur)?;
        let far = Level::new(device, "far", &near.image, &gather, &blur)?;
        let inputs = Textures::new(device, &finish, &[light, &near.image, &far.image])?;
        Ok(Self { gather, blur, finish, near, far, inputs })
    }

    /// Records the conversion of the light, in use as a texture, to a picture in `target`, in use
    /// as a target.
    pub(super) fn record(&self, recorder: &mut Recorder<'_>, target: &LocalImage) {
        self.level(recorder, &self.near);
        self.level(recorder, &self.far);
        let constants = [GLOW[0], GLOW[1], STRETCH, WHITE];
        recorder.screen(target, &self.finish, &self.inputs, bytemuck::bytes_of(&constants));
    }

    fn level(&self, recorder: &mut Recorder<'_>, level: &Level) {
        let (image, other) = (level.image.as_raw(), level.other.as_raw());
        let blur = |direction| {
            let mut weights = [0.0; 8];
            weights[..BLUR.len()].copy_from_slice(&BLUR);
            BlurConstants { weights, direction }
        };
        recorder.discard(image, ImageUse::Texture, ImageUse::Target);
        recorder.screen(&level.image, &self.gather, &level.source, bytemuck::bytes_of(&GLOW_LIMIT));
        recorder.transition(image, ImageUse::Target, ImageUse::Texture);
        recorder.discard(other, ImageUse::Texture, ImageUse::Target);
        recorder.screen(&level.other, &self.blur, &level.across, bytemuck::bytes_of(&blur([1, 0])));
        recorder.transition(other, ImageUse::Target, ImageUse::Texture);
        recorder.discard(image, ImageUse::Texture, ImageUse::Target);
        recorder.screen(&level.image, &self.blur, &level.down, bytemuck::bytes_of(&blur([0, 1])));
        recorder.transition(image, ImageUse::Target, ImageUse::Texture);
    }
}

impl Level {
    fn new(device: &ExportDevice, name: &str, from: &LocalImage, gather: &Pipeline, blur: &Pipeline) -> Result<Self> {
        let smaller = |side: u32| side.div_ceil(CELL as u32);
        let vk::Extent2D { width, height } = from.extent();
        let info = LocalImageInfo {
            name,
            format: LIGHT,
            extent: vk::Extent2D { width: smaller(width), height: smaller(height) },
            usage: vk::ImageUsageFlags::COLOR_ATTACHMENT | vk::ImageUsageFlags::SAMPLED,
        };
        let (image, other) = (LocalImage::new(device, &info)?, LocalImage::new(device, &info)?);
        let source = Textures::new(device, gather, &[from])?;
        let across = Textures::new(device, blur, &[&image])?;
        let down = Textures::new(device, blur, &[&other])?;
        Ok(Self { image, other, source, across, down })
    }
}
