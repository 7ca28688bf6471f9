//! The compute side: the filter as CUDA kernels, on a stream or in command buffers, or on the CPU.
#![allow(unsafe_code)] // Kernel launches.

use crate::kernels::{load, threads};
use crate::postprocess::bloom::{Bloom, LEVELS, Texel, filter};
use anyhow::{Context, Result};
use bridge::cuda_import::{AddressMode, Filter as Between, TextureInfo};
use bridge::{
    Backend, Compute, ComputeTurn, ImageSpec, Kernel, KernelMemory, KernelWork, LaunchConfig, RenderFirst, Work,
};

/// The contents of a slot of both exchanges.
pub(crate) type Shared = ImageSpec<Texel>;

/// The PTX of the kernels in `shaders/postprocess.cu`.
const KERNELS: &str = include_str!("../../shaders/postprocess.ptx");

/// The filter, as kernels or on the CPU.
pub(crate) enum Filter {
    Kernels(Box<Kernels>),
    Host,
}

/// The kernels and two copies of all levels of the pyramid, with three floats per texel.
pub(crate) struct Kernels {
    bright: Kernel,
    shrink: Kernel,
    blur: Kernel,
    compose: Kernel,
    pyramid: KernelMemory<f32>,
    scratch: KernelMemory<f32>,
}

impl Filter {
    /// Creates the filter for scenes with the parameters of `bloom`.
    pub(crate) fn new(compute: &Compute, bloom: &Bloom) -> Result<Self> {
        if compute.backend() == Backend::Host {
            return Ok(Self::Host);
        }
        Ok(Self::Kernels(Box::new(Kernels::new(compute, bloom)?)))
    }

    /// Changes the size of the scenes. Launched kernels keep their memory alive.
    pub(crate) fn resize(&mut self, compute: &Compute, bloom: &Bloom) -> Result<()> {
        if let Self::Kernels(kernels) = self {
            (kernels.pyramid, kernels.scratch) = (levels(compute, bloom)?, levels(compute, bloom)?);
        }
        Ok(())
    }

    /// Enqueues the filter from the scene's image to the picture's, after the previous work. Does
    /// not wait.
    pub(crate) fn run(
        &mut self,
        scene: &mut ComputeTurn<Shared, RenderFirst>,
        picture: &mut ComputeTurn<Shared>,
        bloom: &Bloom,
    ) -> Result<()> {
        match (self, scene.work(), picture.work()) {
            (Self::Host, Work::Host(mut scene), Work::Host(mut picture)) => {
                let bloom = *bloom;
                scene.run_with(&mut picture, move |scene, mut picture| {
                    let rows = (0..scene.height()).filter_map(|y| scene.row(y));
                    let filtered = filter(&bloom, &rows.collect::<Vec<_>>().concat());
                    let rows = filtered.chunks_exact(bloom.size[0] as usize);
                    picture.rows_mut().zip(rows).for_each(|(to, from)| to.copy_from_slice(from));
                })?;
                Ok(())
            }
            (Self::Kernels(kernels), scene, picture) => kernels.launch(&scene.kernels()?, &picture.kernels()?, bloom),
            _ => anyhow::bail!("the filter is not where its exchanges compute"),
        }
    }
}

/// Allocates memory for all levels of a pyramid.
fn levels(compute: &Compute, bloom: &Bloom) -> Result<KernelMemory<f32>> {
    let zeros = vec![0.0; bloom.texels() * 3];
    compute.kernel_memory("levels", &zeros).context("no room for the blurred levels in the GPU's memory")
}

impl Kernels {
    fn new(compute: &Compute, bloom: &Bloom) -> Result<Self> {
        let module = load(compute, "postprocess.ptx", KERNELS)?;
        let (pyramid, scratch) = (levels(compute, bloom)?, levels(compute, bloom)?);
        let [bright, shrink, blur, compose] = Bloom::KERNELS;
        let (bright, shrink) = (module.kernel(bright)?, module.kernel(shrink)?);
        let (blur, compose) = (module.kernel(blur)?, module.kernel(compose)?);
        Ok(Self { bright, shrink, blur, compose, pyramid, scratch })
    }

    fn launch(&self, scene: &KernelWork<'_, Shared>, work: &KernelWork<'_, Shared>, bloom: &Bloom) -> Result<()> {
        const WHY: &str = "a kernel of the filter cannot be launched";
        let Self { bright, shrink, blur, compose, pyramid, scratch } = self;
        // A linear filter: the mean of four texels takes one read.
        let texture = scene.resources.texture(&TextureInfo {
            address_modes: [AddressMode::Clamp; 3],
            filter: Between::Linear,
            ..Default::default()
        })?;
        let over = |index: usize| -> LaunchConfig {
            let level = bloom.levels[index];
            threads([level.width, level.height])
        };
        for (number, index) in (0..LEVELS).zip(0_u32..) {
            let config = over(number);
            let launched = if number == 0 {
                // SAFETY: the arguments of `bright`: a pyramid of the size in `bloom`, the turn's
                // scene, and `bloom`, whose size both sources assert. No thread accesses anything
                // beyond the level.
                unsafe { work.launch(bright, &config, (pyramid, texture, *bloom)) }
            } else {
                // SAFETY: the arguments of `shrink`: a pyramid as above, the number of a level with
                // a previous level, and `bloom`. No thread accesses anything beyond the level.
                unsafe { work.launch(shrink, &config, (pyramid, index, *bloom)) }
            };
            launched.context(WHY)?;
            let along = |to: &KernelMemory<f32>, from: &KernelMemory<f32>, right: i32, down: i32| {
                // SAFETY: the arguments of `blur`: two pyramids, a level's number, a direction, and
                // `bloom`. No thread accesses anything beyond the level.
                unsafe { work.launch(blur, &config, (to, from, index, right, down, *bloom)) }.context(WHY)
            };
            along(scratch, pyramid, 1, 0)?;
            along(pyramid, scratch, 0, 1)?;
        }
        let surface = work.resources.surface(0)?;
        // SAFETY: the arguments of `compose`: the turn's picture, the turn's scene, a pyramid, and
        // `bloom`, whose size is that of the picture. No thread accesses anything beyond it.
        unsafe { work.launch(compose, &threads(bloom.size), (surface, texture, pyramid, *bloom)) }.context(WHY)
    }
}
