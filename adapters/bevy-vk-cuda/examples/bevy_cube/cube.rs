//! A cube whose texture CUDA or the CPU paints.
#![allow(unsafe_code)] // Kernel launches.

use std::ffi::c_void;
use std::ptr::from_ref;

use bevy::image::{ImageSampler, ImageSamplerDescriptor};
use bevy::prelude::*;
use bevy::render::render_resource::TextureFormat;
use bevy_vk_cuda::bridge::cuda_import::CudaDevice;
use bevy_vk_cuda::bridge::{Kernel, LaunchConfig, cudarc};
use bevy_vk_cuda::{Cuda, CudaImage, Frame};

use crate::pace::Pace;
use crate::staged::{self, Staged};

/// The number of squares in a row of the texture.
pub(crate) const SQUARES: u32 = 64;

const KERNELS: &str = include_str!("../../../../shaders/wgpu.ptx");

/// Width and height of a block of threads.
const BLOCK: u32 = 16;

/// The simulation that paints the cube's texture.
#[derive(Component)]
pub(crate) struct Painting {
    pub(crate) image: CudaImage<[u8; 4]>,
    /// Width and height of the texture in texels.
    pub(crate) side: u32,
    kernel: Option<Kernel>,
    /// Set if CUDA computes frames that are uploaded.
    staged: Option<staged::Shared<u8>>,
    /// The number of frames so far.
    pub(crate) frames: u32,
}

/// Adds the cube to a scene. If frames are uploaded, `gpu` computes them.
pub(crate) fn spawn(
    world: &mut World,
    side: u32,
    transform: Transform,
    gpu: Option<&CudaDevice>,
) -> anyhow::Result<()> {
    let cuda = world.resource::<Cuda>().clone();
    let mut images = world.resource_mut::<Assets<Image>>();
    let image = CudaImage::new(&cuda, &mut images, "painting", TextureFormat::Rgba8UnormSrgb, [side; 2])?;
    // Nearest filtering, for squares with sharp edges; the image is an ordinary asset.
    if let Some(mut asset) = images.get_mut(image.handle()) {
        asset.sampler = ImageSampler::Descriptor(ImageSamplerDescriptor::nearest());
    }
    let kernels = cuda.load("painting", KERNELS)?;
    let kernel = kernels.map(|kernels| kernels.kernel("tiles")).transpose()?;
    let bytes = 4 * side as usize * side as usize;
    let staged = gpu.map(|gpu| Staged::new(gpu, KERNELS, "tiles_in_rows", bytes)).transpose()?;
    let material =
        StandardMaterial { base_color_texture: Some(image.handle().clone()), unlit: true, ..Default::default() };
    let material = world.resource_mut::<Assets<StandardMaterial>>().add(material);
    let mesh = world.resource_mut::<Assets<Mesh>>().add(Cuboid::new(2.0, 2.0, 2.0));
    let painting = Painting { image, side, kernel, staged, frames: 0 };
    world.spawn((Mesh3d(mesh), MeshMaterial3d(material), transform, painting));
    Ok(())
}

/// The system that paints.
pub(crate) fn paint(mut paintings: Query<'_, '_, &mut Painting>, pace: Res<'_, Pace>) -> Result {
    for mut painting in &mut paintings {
        let Painting { image, side, kernel, staged, frames } = &mut *painting;
        let Some(writer) = image.writer() else { continue };
        let (next, side) = (*frames + 1, *side);
        let square = side / SQUARES;
        let written = pace.begin(|| {
            writer.write(|frame| match (frame, &*kernel) {
                (Frame::Cpu(cpu), _) => match staged.clone() {
                    None => cpu.run(move |mut rows| {
                        rows.fill_with(|x, y| texel(x as u32 / square, y as u32 / square, next));
                    }),
                    Some(staged) => cpu.run(move |mut rows| {
                        let blocks = side / BLOCK;
                        let config = cudarc::driver::LaunchConfig {
                            grid_dim: (blocks, blocks, 1),
                            block_dim: (BLOCK, BLOCK, 1),
                            shared_mem_bytes: 0,
                        };
                        let args: [*const c_void; 3] =
                            [from_ref(&side).cast(), from_ref(&square).cast(), from_ref(&next).cast()];
                        let take = |frame: &[u8]| {
                            for (y, texels) in frame.chunks_exact(4 * side as usize).enumerate() {
                                let row = rows.row_mut(y).into_iter();
                                row.for_each(|row| bytemuck::cast_slice_mut(row).copy_from_slice(texels));
                            }
                        };
                        // SAFETY: these are the kernel's parameters after its memory, to which it
                        // writes `side` rows of `side` texels of 4 bytes.
                        unsafe { staged::compute(&staged, &config, &args, take) };
                    }),
                },
                (Frame::Cuda(work), Some(kernel)) => {
                    let work = work.kernels()?;
                    let surface = work.resources.surface(0)?;
                    let config = LaunchConfig::new([side / BLOCK, side / BLOCK, 1], [BLOCK, BLOCK, 1]);
                    // SAFETY: these are the kernel's parameters, and it writes texels of 4 bytes
                    // within width and height.
                    Ok(unsafe { work.launch(kernel, &config, (surface, side, square, next)) }?)
                }
                _ => unreachable!("the kernel is loaded wherever CUDA computes"),
            })
        })?;
        *frames += u32::from(written);
    }
    Ok(())
}

/// Returns the color of a square on the CPU, with the operations of the kernels `tiles` in
/// `shaders/wgpu.cu`.
pub(crate) fn texel(x: u32, y: u32, frame: u32) -> [u8; 4] {
    let [r, g, b] = [(x ^ y).wrapping_add(frame), 2 * x + 3 * frame, (2 * y).wrapping_sub(frame)];
    [r as u8, g as u8, b as u8, 255]
}
