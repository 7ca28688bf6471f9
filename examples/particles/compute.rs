//! The compute side: the simulation step as a CUDA kernel, on a stream, on several GPUs or in
//! command buffers, or as its twin on the CPU.
#![allow(unsafe_code)] // Kernel launches.

use std::ops::Range;

use crate::kernels::load;
use crate::particles::particle::{Body, Particle};
use crate::particles::scene::Step;
use crate::particles::scene::encounter::EncounterStep;
use crate::particles::scene::mosaic::MosaicStep;
use anyhow::{Context, Result};
use bridge::{BufferSpec, Compute, ComputeTurn, Kernel, KernelMemory, KernelWork, LaunchConfig, TwinSlice};
use bytemuck::Pod;

/// The contents of a slot of the exchange.
pub type Shared = BufferSpec<Particle>;

/// The PTX of the kernels in `shaders/particles.cu`.
pub const KERNELS: &str = include_str!("../../shaders/particles.ptx");
/// Threads per block.
pub const BLOCK: u32 = 256;

/// The parameters of both kernels: particles, bodies, their number, and the step.
type Params<T> = (TwinSlice<Particle>, TwinSlice<Body>, u32, T);

/// The state of all particles in the compute side's memory, and the kernels that move them.
pub struct Mover {
    kernels: [Kernel; 2],
    state: State,
}

enum State {
    /// One GPU, or the CPU, has all bodies.
    Whole { bodies: KernelMemory<Body>, count: u32 },
    /// Each GPU has a part of the bodies.
    Split(Vec<Part>),
}

/// The bodies that one of several GPUs moves.
struct Part {
    range: Range<usize>,
    /// `None` if the range is empty.
    bodies: Option<KernelMemory<Body>>,
}

impl Mover {
    /// Copies `bodies` to the compute side.
    pub fn new(compute: &Compute, bodies: &[Body]) -> Result<Self> {
        let [encounter, mosaic] = Step::KERNELS;
        let module = load(compute, "particles.ptx", KERNELS)?
            .with_twin::<Params<EncounterStep>>(encounter, |_, (particles, bodies, _, step)| {
                Step::Encounter(step).advance_all(bodies, particles);
            })?
            .with_twin::<Params<MosaicStep>>(mosaic, |_, (particles, bodies, _, step)| {
                Step::Mosaic(step).advance_all(bodies, particles);
            })?;
        let kernels = [module.kernel(encounter)?, module.kernel(mosaic)?];
        let count = u32::try_from(bodies.len())?;
        let no_room = || format!("no room for the state of {count} particles in the GPU's memory");
        let state = match compute.cuda() {
            Some(cuda) if cuda.gpus().len() > 1 => {
                let ranges = cuda.even_split::<Particle>(bodies.len());
                let parts = compute.kernel_memory_split("bodies", bodies, &ranges).with_context(no_room)?;
                State::Split(ranges.into_iter().zip(parts).map(|(range, bodies)| Part { range, bodies }).collect())
            }
            _ => State::Whole { bodies: compute.kernel_memory("bodies", bodies).with_context(no_room)?, count },
        };
        Ok(Self { kernels, state })
    }

    /// Enqueues the movement of all particles by `step` and their output to the turn's slot, after
    /// the previous work. Does not wait.
    pub fn advance(&mut self, turn: &mut ComputeTurn<Shared>, step: &Step) -> Result<()> {
        let kernel = self.kernels.get(step.kernel()).context("no kernel for this step")?;
        match &self.state {
            State::Whole { bodies, count } => launch_step(kernel, &turn.work().kernels()?, bodies, *count, step),
            State::Split(parts) => advance_parts(kernel, parts, turn, step),
        }
    }
}

/// Enqueues on each GPU the movement of its part and the output to its range of the slot.
fn advance_parts(kernel: &Kernel, parts: &[Part], turn: &mut ComputeTurn<Shared>, step: &Step) -> Result<()> {
    let ranges: Vec<_> = parts.iter().map(|part| part.range.clone()).collect();
    for (work, part) in turn.work_split(&ranges)?.into_iter().zip(parts) {
        let Some(bodies) = &part.bodies else { continue };
        let (count, from) = (u32::try_from(part.range.len())?, u32::try_from(part.range.start)?);
        launch_step(kernel, &work.kernels()?, bodies, count, &step.from(from))?;
    }
    Ok(())
}

fn launch_step(
    kernel: &Kernel,
    work: &KernelWork<'_, Shared>,
    bodies: &KernelMemory<Body>,
    count: u32,
    step: &Step,
) -> Result<()> {
    match step {
        Step::Encounter(step) => launch(kernel, work, bodies, count, *step),
        Step::Mosaic(step) => launch(kernel, work, bodies, count, *step),
    }
}

fn launch<T: Pod>(
    kernel: &Kernel,
    work: &KernelWork<'_, Shared>,
    bodies: &KernelMemory<Body>,
    count: u32,
    step: T,
) -> Result<()> {
    let config = LaunchConfig::for_elements(u64::from(count), BLOCK);
    // SAFETY: the four arguments are those of the kernel that `Step::kernel` names: `count`
    // particles in the slot, `count` bodies, and the step's own structure, whose size both sources
    // assert. No thread accesses anything beyond `count`.
    unsafe { work.launch(kernel, &config, (work.resources, bodies, count, step)) }
        .context("the kernel that moves the particles cannot be launched")
}
