//! The compute side: the same step as a CUDA kernel, on a stream or in command buffers, or on the processor.
#![allow(unsafe_code)] // Kernel launches.

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
    Host { bodies: Arc<Mutex<Vec<Body>>> },
}

impl Mover {
    /// Brings `bodies` to the compute side.
    pub fn new(compute: &Compute, bodies: Vec<Body>) -> Result<Self> {
        if compute.backend() == Backend::Host {
            return Ok(Self::Host { bodies: Arc::new(Mutex::new(bodies)) });
        }
        let kernels = load(compute, "particles.ptx", KERNELS, Step::KERNELS)?;
        let count = u32::try_from(bodies.len())?;
        let bodies = compute
            .kernel_memory("bodies", &bodies)
            .with_context(|| format!("no room for the state of {count} particles in the GPU's memory"))?;
        Ok(Self::Kernels { kernels, bodies, count })
    }

    /// Moves all particles by `step` and writes them to the turn's slot, once the work before is done. Does not wait.
    pub fn advance(&mut self, turn: &mut ComputeTurn<Shared>, step: &Step) -> Result<()> {
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
                let kernel = kernels.get(step.kernel()).context("no kernel for this step")?;
                let work = work.kernels()?;
                match step {
                    Step::Encounter(step) => launch(kernel, &work, bodies, *count, *step),
                    Step::Mosaic(step) => launch(kernel, &work, bodies, *count, *step),
                }
            }
            _ => anyhow::bail!("the particles are not where their exchange computes"),
        }
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
