//! The compute side: the same step as a CUDA kernel, on a stream, on several GPUs or in command buffers, or on the processor.
#![allow(unsafe_code)] // Kernel launches.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use crate::kernels::load;
use crate::particles::particle::{Body, Particle};
use crate::particles::scene::Step;
use anyhow::{Context, Result};
use bridge::{Backend, BufferSpec, Compute, ComputeTurn, Kernel, KernelMemory, KernelWork, LaunchConfig, Work};
use bytemuck::Pod;

/// What a slot of the exchange holds.
pub type Shared = BufferSpec<Particle>;

/// The kernels, compiled beforehand from `shaders/particles.cu`.
pub const KERNELS: &str = include_str!("../../shaders/particles.ptx");
/// Threads of a block.
pub const BLOCK: u32 = 256;

/// The state of all particles, where compute keeps it, and the means to move them.
#[allow(missing_docs)] // Its parts are its own business.
pub enum Mover {
    Kernels { kernels: [Kernel; 2], bodies: KernelMemory<Body>, count: u32 },
    Several { kernels: [Kernel; 2], parts: Vec<Part> },
    Host { bodies: Arc<Mutex<Vec<Body>>> },
}

/// What one of several GPUs moves.
#[derive(Debug)]
pub struct Part {
    range: Range<usize>,
    /// None where it has nothing to do.
    bodies: Option<KernelMemory<Body>>,
}

impl Mover {
    /// Brings `bodies` to the compute side.
    pub fn new(compute: &Compute, bodies: Vec<Body>) -> Result<Self> {
        if compute.backend() == Backend::Host {
            return Ok(Self::Host { bodies: Arc::new(Mutex::new(bodies)) });
        }
        let kernels = load(compute, "particles.ptx", KERNELS, Step::KERNELS)?;
        let count = u32::try_from(bodies.len())?;
        let no_room = || format!("no room for the state of {count} particles in the GPU's memory");
        if let Some(cuda) = compute.cuda().filter(|cuda| cuda.gpus().len() > 1) {
            let ranges = cuda.even_split::<Particle>(bodies.len());
            let parts = compute.kernel_memory_split("bodies", &bodies, &ranges).with_context(no_room)?;
            let parts = ranges.into_iter().zip(parts).map(|(range, bodies)| Part { range, bodies }).collect();
            return Ok(Self::Several { kernels, parts });
        }
        let bodies = compute.kernel_memory("bodies", &bodies).with_context(no_room)?;
        Ok(Self::Kernels { kernels, bodies, count })
    }

    /// Moves all particles by `step` and writes them to the turn's slot, once the work before is done. Does not wait.
    pub fn advance(&mut self, turn: &mut ComputeTurn<Shared>, step: &Step) -> Result<()> {
        if let Self::Several { kernels, parts } = self {
            return advance_parts(kernels, parts, turn, step);
        }
        match (self, turn.work()) {
            (Self::Host { bodies }, Work::Host(work)) => {
                let (bodies, step) = (Arc::clone(bodies), *step);
                work.run(move |particles| {
                    let mut bodies = bodies.lock().unwrap_or_else(PoisonError::into_inner);
                    step.advance_all(&mut bodies, particles);
                })?;
                Ok(())
            }
            (Self::Kernels { kernels, bodies, count }, work) => {
                launch_step(kernels, &work.kernels()?, bodies, *count, step)
            }
            _ => anyhow::bail!("the particles are not where their exchange computes"),
        }
    }
}

/// Each GPU moves its part, and writes it to its range of the slot.
fn advance_parts(kernels: &[Kernel; 2], parts: &[Part], turn: &mut ComputeTurn<Shared>, step: &Step) -> Result<()> {
    let ranges: Vec<_> = parts.iter().map(|part| part.range.clone()).collect();
    for (work, part) in turn.work_split(&ranges)?.into_iter().zip(parts) {
        let Some(bodies) = &part.bodies else { continue };
        let (count, from) = (u32::try_from(part.range.len())?, u32::try_from(part.range.start)?);
        launch_step(kernels, &work.kernels(), bodies, count, &step.from(from))?;
    }
    Ok(())
}

fn launch_step(
    kernels: &[Kernel; 2],
    work: &KernelWork<'_, Shared>,
    bodies: &KernelMemory<Body>,
    count: u32,
    step: &Step,
) -> Result<()> {
    let kernel = kernels.get(step.kernel()).context("no kernel for this step")?;
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
    // SAFETY: the four arguments are those of the kernel that `Step::kernel` names: `count` particles in the slot,
    // `count` bodies, and the step's own structure, whose size both sources assert. No thread goes past `count`.
    unsafe { work.launch(kernel, &config, (work.resources, bodies, count, step)) }
        .context("the kernel that moves the particles cannot be launched")
}
