//! The compute side: the same steps as CUDA kernels, or on the processor.
#![allow(unsafe_code)] // Kernel launches.

use std::sync::{Arc, Mutex, PoisonError};

use crate::kernels::{Argument, load, threads};
use crate::texture::growth::{Growth, Step, Texel};
use anyhow::{Context, Result};
use bridge::cuda_import::cudarc::driver::{CudaFunction, CudaSlice, PushKernelArg};
use bridge::{Compute, ComputeTurn, CudaCompute, CudaWork, ImageSpec, Work};

/// What a slot of the exchange holds.
pub(crate) type Shared = ImageSpec<Texel>;

/// The kernels, compiled beforehand from `shaders/texture.cu`.
const KERNELS: &str = include_str!("../../shaders/texture.ptx");

/// The pattern, where compute keeps it, and the means to let it grow.
pub(crate) enum Grower {
    Cuda { kernels: [CudaFunction; 2], now: CudaSlice<f32>, next: CudaSlice<f32> },
    Host { growth: Arc<Mutex<Growth>> },
}

impl Grower {
    /// Brings `growth` to the compute side.
    pub(crate) fn new(compute: &Compute, growth: Growth) -> Result<Self> {
        match compute.cuda() {
            Some(cuda) => Self::on_cuda(cuda, &growth),
            None => Ok(Self::Host { growth: Arc::new(Mutex::new(growth)) }),
        }
    }

    fn on_cuda(cuda: &CudaCompute, growth: &Growth) -> Result<Self> {
        let kernels = load(cuda, "texture.ptx", KERNELS, Step::KERNELS)?;
        let state = || cuda.stream().clone_htod(&growth.planes()).context("no room for the pattern in CUDA's memory");
        Ok(Self::Cuda { kernels, now: state()?, next: state()? })
    }

    /// Moves the pattern on by `steps` steps and writes the turn's image, once the work before is done. Does not wait.
    pub(crate) fn advance(&mut self, turn: &mut ComputeTurn<Shared>, step: &Step, steps: u32) -> Result<()> {
        match (self, turn.work()) {
            (Self::Cuda { kernels: [grow, relief], now, next }, Work::Cuda(work)) => {
                for _ in 0..steps {
                    launch_grow(grow, &work, next, now, step)?;
                    std::mem::swap(now, next);
                }
                launch_relief(relief, work, now, step)
            }
            (Self::Host { growth }, Work::Host(work)) => {
                let (growth, step) = (Arc::clone(growth), *step);
                work.run(move |mut image| {
                    let mut growth = growth.lock().unwrap_or_else(PoisonError::into_inner);
                    growth.advance(&step, steps);
                    image.rows_mut().enumerate().for_each(|(row, texels)| growth.relief(row, texels));
                })?;
                Ok(())
            }
            _ => anyhow::bail!("the pattern is not where its exchange computes"),
        }
    }
}

fn launch_grow(
    kernel: &CudaFunction,
    work: &CudaWork<'_, Shared>,
    to: &mut CudaSlice<f32>,
    from: &CudaSlice<f32>,
    step: &Step,
) -> Result<()> {
    let argument = Argument(*step);
    let mut launch = work.stream.launch_builder(kernel);
    launch.arg(to).arg(from).arg(&argument);
    // SAFETY: the kernel's three arguments: two states of as many cells as the step's grid has, and the step, whose size
    // both sources assert. No thread goes past the grid.
    unsafe { launch.launch(threads(step.grid())) }
        .context("the kernel that lets the pattern grow cannot be launched")?;
    Ok(())
}

fn launch_relief(kernel: &CudaFunction, work: CudaWork<'_, Shared>, state: &CudaSlice<f32>, step: &Step) -> Result<()> {
    let argument = Argument(*step);
    let mut surface = work.resources.surface(0)?;
    let mut launch = work.stream.launch_builder(kernel);
    launch.arg(&mut surface).arg(state).arg(&argument);
    // SAFETY: the kernel's three arguments: the turn's image of half floats, a state of as many cells as it has texels,
    // and the step. No thread goes past the grid.
    unsafe { launch.launch(threads(step.grid())) }.context("the kernel that writes the image cannot be launched")?;
    Ok(())
}
