//! The compute side: the same steps as CUDA kernels, on a stream or in command buffers, or on the processor.
#![allow(unsafe_code)] // Kernel launches.

use std::sync::{Arc, Mutex, PoisonError};

use crate::kernels::{load, threads};
use crate::texture::growth::{Growth, Step, Texel};
use anyhow::{Context, Result};
use bridge::{Backend, Compute, ComputeTurn, ImageSpec, Kernel, KernelMemory, KernelWork, Work};

/// What a slot of the exchange holds.
pub(crate) type Shared = ImageSpec<Texel>;

/// The kernels, compiled beforehand from `shaders/texture.cu`.
const KERNELS: &str = include_str!("../../shaders/texture.ptx");

/// The pattern, where compute keeps it, and the means to let it grow.
pub(crate) enum Grower {
    Kernels { kernels: [Kernel; 2], now: KernelMemory<f32>, next: KernelMemory<f32> },
    Host { growth: Arc<Mutex<Growth>> },
}

impl Grower {
    /// Brings `growth` to the compute side.
    pub(crate) fn new(compute: &Compute, growth: Growth) -> Result<Self> {
        if compute.backend() == Backend::Host {
            return Ok(Self::Host { growth: Arc::new(Mutex::new(growth)) });
        }
        let kernels = load(compute, "texture.ptx", KERNELS, Step::KERNELS)?;
        let state =
            |name| compute.kernel_memory(name, &growth.planes()).context("no room for the pattern in the GPU's memory");
        Ok(Self::Kernels { kernels, now: state("pattern")?, next: state("next pattern")? })
    }

    /// Moves the pattern on by `steps` steps and writes the turn's image, once the work before is done. Does not wait.
    pub(crate) fn advance(&mut self, turn: &mut ComputeTurn<Shared>, step: &Step, steps: u32) -> Result<()> {
        match (self, turn.work()) {
            (Self::Host { growth }, Work::Host(work)) => {
                let (growth, step) = (Arc::clone(growth), *step);
                work.run(move |mut image| {
                    let mut growth = growth.lock().unwrap_or_else(PoisonError::into_inner);
                    growth.advance(&step, steps);
                    image.rows_mut().enumerate().for_each(|(row, texels)| growth.relief(row, texels));
                })?;
                Ok(())
            }
            (Self::Kernels { kernels: [grow, relief], now, next }, work) => {
                let work = work.kernels()?;
                for _ in 0..steps {
                    launch_grow(grow, &work, next, now, step)?;
                    std::mem::swap(now, next);
                }
                launch_relief(relief, &work, now, step)
            }
            _ => anyhow::bail!("the pattern is not where its exchange computes"),
        }
    }
}

fn launch_grow(
    kernel: &Kernel,
    work: &KernelWork<'_, Shared>,
    to: &KernelMemory<f32>,
    from: &KernelMemory<f32>,
    step: &Step,
) -> Result<()> {
    // SAFETY: the kernel's three arguments: two states of as many cells as the step's grid has, and the step, whose size
    // both sources assert. No thread goes past the grid.
    unsafe { work.launch(kernel, &threads(step.grid()), (to, from, *step)) }
        .context("the kernel that lets the pattern grow cannot be launched")
}

fn launch_relief(kernel: &Kernel, work: &KernelWork<'_, Shared>, state: &KernelMemory<f32>, step: &Step) -> Result<()> {
    let surface = work.resources.surface(0)?;
    // SAFETY: the kernel's three arguments: the turn's image of half floats, a state of as many cells as it has texels,
    // and the step. No thread goes past the grid.
    unsafe { work.launch(kernel, &threads(step.grid()), (surface, state, *step)) }
        .context("the kernel that writes the image cannot be launched")
}
