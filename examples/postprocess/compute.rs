//! The compute side: the same filter as CUDA kernels, or on the processor.
#![allow(unsafe_code)] // Kernel launches.

use crate::kernels::{Argument, load, threads};
use crate::postprocess::bloom::{Bloom, LEVELS, Texel, filter};
use anyhow::{Context, Result};
use bridge::cuda_import::cudarc::driver::{CudaFunction, CudaSlice, LaunchConfig, PushKernelArg};
use bridge::cuda_import::{AddressMode, Filter as Between, TextureInfo};
use bridge::{Compute, ComputeTurn, CudaCompute, CudaWork, ImageSpec, RenderFirst, Work};

/// What a slot of either exchange holds.
pub(crate) type Shared = ImageSpec<Texel>;

/// The kernels, compiled beforehand from `shaders/postprocess.cu`.
const KERNELS: &str = include_str!("../../shaders/postprocess.ptx");

/// The means to filter.
pub(crate) enum Filter {
    Cuda(Box<Kernels>),
    Host,
}

/// The kernels and all levels of the pyramid, twice: three floats a texel.
pub(crate) struct Kernels {
    bright: CudaFunction,
    shrink: CudaFunction,
    blur: CudaFunction,
    compose: CudaFunction,
    pyramid: CudaSlice<f32>,
    scratch: CudaSlice<f32>,
}

impl Filter {
    /// For scenes like that of `bloom`.
    pub(crate) fn new(compute: &Compute, bloom: &Bloom) -> Result<Self> {
        compute.cuda().map_or(Ok(Self::Host), |cuda| Ok(Self::Cuda(Box::new(Kernels::new(cuda, bloom)?))))
    }

    /// Filters the scene's image into the picture's, once the work before is done. Does not wait.
    pub(crate) fn run(
        &mut self,
        scene: &mut ComputeTurn<Shared, RenderFirst>,
        picture: &mut ComputeTurn<Shared>,
        bloom: &Bloom,
    ) -> Result<()> {
        match (self, scene.work(), picture.work()) {
            (Self::Cuda(kernels), Work::Cuda(scene), Work::Cuda(picture)) => kernels.launch(scene, picture, bloom),
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
            _ => anyhow::bail!("the filter is not where its exchanges compute"),
        }
    }
}

impl Kernels {
    fn new(cuda: &CudaCompute, bloom: &Bloom) -> Result<Self> {
        let [bright, shrink, blur, compose] = load(cuda, "postprocess.ptx", KERNELS, Bloom::KERNELS)?;
        let levels =
            || cuda.stream().alloc_zeros(bloom.texels() * 3).context("no room for the blurred levels in CUDA's memory");
        Ok(Self { bright, shrink, blur, compose, pyramid: levels()?, scratch: levels()? })
    }

    fn launch(&mut self, scene: CudaWork<'_, Shared>, picture: CudaWork<'_, Shared>, bloom: &Bloom) -> Result<()> {
        let Self { bright, shrink, blur, compose, pyramid, scratch } = self;
        // In texels, and between them: the mean of four costs one read.
        let texture = scene.resources.texture(&TextureInfo {
            address: [AddressMode::Clamp; 3],
            filter: Between::Linear,
            normalized_coordinates: false,
            ..Default::default()
        })?;
        let mut surface = picture.resources.surface(0)?;
        let (stream, argument) = (picture.stream, Argument(*bloom));
        let over = |index: usize| -> LaunchConfig {
            let level = bloom.levels[index];
            threads([level.width, level.height])
        };
        const WHY: &str = "a kernel of the filter cannot be launched";
        for (number, index) in (0..LEVELS).zip(0_u32..) {
            let mut launch;
            if number == 0 {
                launch = stream.launch_builder(bright);
                launch.arg(&mut *pyramid).arg(&texture).arg(&argument);
            } else {
                launch = stream.launch_builder(shrink);
                launch.arg(&mut *pyramid).arg(&index).arg(&argument);
            }
            // SAFETY: the arguments of `bright` or `shrink`: a pyramid as large as the bloom says, the turn's scene or the
            // number of a level with one before it, and the bloom, whose size both sources assert. No thread goes past the
            // level.
            unsafe { launch.launch(over(number)) }.context(WHY)?;
            let along = |to: &mut CudaSlice<f32>, from: &CudaSlice<f32>, right: i32, down: i32| {
                let mut launch = stream.launch_builder(blur);
                launch.arg(to).arg(from).arg(&index).arg(&right).arg(&down).arg(&argument);
                // SAFETY: the arguments of `blur`: two pyramids, a level's number, a direction, and the bloom. No thread
                // goes past the level.
                unsafe { launch.launch(over(number)) }.context(WHY)
            };
            along(scratch, pyramid, 1, 0)?;
            along(pyramid, scratch, 0, 1)?;
        }
        let mut launch = stream.launch_builder(compose);
        launch.arg(&mut surface).arg(&texture).arg(&*pyramid).arg(&argument);
        // SAFETY: the arguments of `compose`: the turn's picture, the turn's scene, a pyramid, and the bloom, whose size is
        // that of the picture. No thread goes past it.
        unsafe { launch.launch(threads(bloom.size)) }.context(WHY)?;
        Ok(())
    }
}
