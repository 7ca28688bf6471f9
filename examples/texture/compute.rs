//! The compute side: the growth as CUDA kernels, on a stream or in command buffers, or as their
//! twins on the CPU.
#![allow(unsafe_code)] // Kernel launches.

use crate::kernels::{load, threads};
use crate::texture::growth::{Growth, Step, Texel};
use anyhow::{Context, Result};
use bridge::{Compute, ComputeTurn, ImageSpec, Kernel, KernelMemory, KernelWork, TwinImage, TwinSlice};

/// The contents of a slot of the exchange.
pub(crate) type Shared = ImageSpec<Texel>;

/// The PTX of the kernels in `shaders/texture.cu`.
const KERNELS: &str = include_str!("../../shaders/texture.ptx");

/// The pattern in the compute side's memory, and the kernels that grow it.
pub(crate) struct Grower {
    grow: Kernel,
    relief: Kernel,
    now: KernelMemory<f32>,
    next: KernelMemory<f32>,
}

impl Grower {
    /// Copies `growth` to the compute side.
    pub(crate) fn new(compute: &Compute, growth: &Growth) -> Result<Self> {
        let [grow, relief] = Step::KERNELS;
        let module = load(compute, "texture.ptx", KERNELS)?
            .with_twin::<(TwinSlice<f32>, TwinSlice<f32>, Step)>(grow, |_, (to, from, step)| step.grow(to, from))?
            .with_twin::<(TwinImage<Texel>, TwinSlice<f32>, Step)>(relief, |_, (mut image, from, step)| {
                image.rows_mut().enumerate().for_each(|(row, texels)| step.relief(from, row, texels));
            })?;
        let state =
            |name| compute.kernel_memory(name, growth.planes()).context("no room for the pattern in the GPU's memory");
        let (now, next) = (state("pattern")?, state("next pattern")?);
        Ok(Self { grow: module.kernel(grow)?, relief: module.kernel(relief)?, now, next })
    }

    /// Enqueues `steps` steps of the pattern and the output to the turn's image, after the previous
    /// work. Does not wait.
    pub(crate) fn advance(&mut self, turn: &mut ComputeTurn<Shared>, step: &Step, steps: u32) -> Result<()> {
        let work = turn.work().kernels()?;
        for _ in 0..steps {
            launch_grow(&self.grow, &work, &self.next, &self.now, step)?;
            std::mem::swap(&mut self.now, &mut self.next);
        }
        launch_relief(&self.relief, &work, &self.now, step)
    }
}

fn launch_grow(
    kernel: &Kernel,
    work: &KernelWork<'_, Shared>,
    to: &KernelMemory<f32>,
    from: &KernelMemory<f32>,
    step: &Step,
) -> Result<()> {
    // SAFETY: the kernel's three arguments: two states with the number of cells of the step's grid,
    // and the step, whose size both sources assert. No thread accesses anything beyond the grid.
    unsafe { work.launch(kernel, &threads(step.grid()), (to, from, *step)) }
        .context("the kernel that lets the pattern grow cannot be launched")
}

fn launch_relief(kernel: &Kernel, work: &KernelWork<'_, Shared>, state: &KernelMemory<f32>, step: &Step) -> Result<()> {
    let surface = work.resources.surface(0)?;
    // SAFETY: the kernel's three arguments: the turn's image of half floats, a state with one cell
    // per texel, and the step. No thread accesses anything beyond the grid.
    unsafe { work.launch(kernel, &threads(step.grid()), (surface, state, *step)) }
        .context("the kernel that writes the image cannot be launched")
}
