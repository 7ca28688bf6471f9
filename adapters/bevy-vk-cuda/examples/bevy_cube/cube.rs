//! A cube whose texture CUDA or the CPU paints.
#![allow(unsafe_code)] // A kernel launch.

use bevy::image::{ImageSampler, ImageSamplerDescriptor};
use bevy::prelude::*;
use bevy::render::render_resource::TextureFormat;
use bevy_vk_cuda::bridge::{Kernel, LaunchConfig};
use bevy_vk_cuda::{Cuda, CudaImage, Frame};

/// The side of the texture in texels.
pub(crate) const TEXELS: u32 = 64;

/// The painting.
#[derive(Component)]
pub(crate) struct Painting {
    pub(crate) image: CudaImage<[u8; 4]>,
    kernel: Option<Kernel>,
    /// Frames so far.
    pub(crate) frames: u32,
}

/// Puts the cube into a scene.
pub(crate) fn spawn(world: &mut World, transform: Transform) -> anyhow::Result<()> {
    let cuda = world.resource::<Cuda>().clone();
    let mut images = world.resource_mut::<Assets<Image>>();
    let image = CudaImage::new(&cuda, &mut images, "painting", TextureFormat::Rgba8UnormSrgb, [TEXELS; 2])?;
    // Squares with sharp edges; it is an asset as any other.
    if let Some(mut asset) = images.get_mut(image.handle()) {
        asset.sampler = ImageSampler::Descriptor(ImageSamplerDescriptor::nearest());
    }
    let kernels = cuda.load("painting", include_str!("../../../../shaders/engine.ptx"))?;
    let kernel = kernels.map(|kernels| kernels.kernel("paint")).transpose()?;
    let material =
        StandardMaterial { base_color_texture: Some(image.handle().clone()), unlit: true, ..Default::default() };
    let material = world.resource_mut::<Assets<StandardMaterial>>().add(material);
    let mesh = world.resource_mut::<Assets<Mesh>>().add(Cuboid::new(2.0, 2.0, 2.0));
    world.spawn((Mesh3d(mesh), MeshMaterial3d(material), transform, Painting { image, kernel, frames: 0 }));
    Ok(())
}

/// The system that computes.
pub(crate) fn paint(mut paintings: Query<'_, '_, &mut Painting>) -> Result {
    for mut painting in &mut paintings {
        let Painting { image, kernel, frames } = &mut *painting;
        let Some(writer) = image.writer() else { continue };
        let next = *frames + 1;
        let written = writer.write(|frame| match (frame, kernel) {
            (Frame::Cpu(cpu), _) => cpu.run(move |mut rows| rows.fill_with(|x, y| texel(x as u32, y as u32, next))),
            (Frame::Cuda(work), Some(kernel)) => {
                let work = work.kernels()?;
                let surface = work.resources.surface(0)?;
                let config = LaunchConfig::new([TEXELS / 16, TEXELS / 16, 1], [16, 16, 1]);
                // SAFETY: these are the kernel's parameters, and it writes texels of 4 bytes within
                // width and height.
                Ok(unsafe { work.launch(kernel, &config, (surface, TEXELS, TEXELS, next)) }?)
            }
            _ => unreachable!("the kernel is loaded wherever CUDA computes"),
        })?;
        *frames += u32::from(written);
    }
    Ok(())
}

/// A texel on the CPU: the operations of the kernel `paint` in `shaders/engine.cu`.
pub(crate) fn texel(x: u32, y: u32, frame: u32) -> [u8; 4] {
    let [r, g, b] = [(x ^ y).wrapping_add(frame), 2 * x + 3 * frame, (2 * y).wrapping_sub(frame)];
    [r as u8, g as u8, b as u8, 255]
}
