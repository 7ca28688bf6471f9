//! The compute side: the same step as a CUDA kernel, or on the processor.
#![allow(unsafe_code)] // Kernel launches.

use std::sync::{Arc, Mutex, PoisonError};

use crate::kernels::{Argument, load};
use crate::particles::particle::{Body, Particle};
use crate::particles::scene::Step;
use anyhow::{Context, Result};
use bridge::cuda_import::cudarc::driver::{CudaFunction, CudaSlice, LaunchConfig, PushKernelArg};
use bridge::{BufferSpec, Compute, ComputeTurn, CudaCompute, CudaWork, Work};
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
    Cuda { kernels: [CudaFunction; 2], bodies: CudaSlice<u8>, count: u32 },
    Host { bodies: Arc<Mutex<Vec<Body>>> },
}

impl Mover {
    /// Brings `bodies` to the compute side.
    pub fn new(compute: &Compute, bodies: Vec<Body>) -> Result<Self> {
        match compute.cuda() {
            Some(cuda) => Self::on_cuda(cuda, &bodies),
            None => Ok(Self::Host { bodies: Arc::new(Mutex::new(bodies)) }),
        }
    }

    fn on_cuda(cuda: &CudaCompute, bodies: &[Body]) -> Result<Self> {
        let kernels = load(cuda, "particles.ptx", KERNELS, Step::KERNELS)?;
        let count = u32::try_from(bodies.len())?;
        // As bytes: cudarc would want its own trait on the type.
        let bodies = cuda
            .stream()
            .clone_htod(bytemuck::cast_slice::<Body, u8>(bodies))
            .with_context(|| format!("no room for the state of {count} particles in CUDA's memory"))?;
        Ok(Self::Cuda { kernels, bodies, count })
    }

    /// Moves all particles by `step` and writes them to the turn's slot, once the work before is done. Does not wait.
    pub fn advance(&mut self, turn: &mut ComputeTurn<Shared>, step: &Step) -> Result<()> {
        match (self, turn.work()) {
            (Self::Cuda { kernels, bodies, count }, Work::Cuda(work)) => {
                let kernel = kernels.get(step.kernel()).context("no kernel for this step")?;
                match step {
                    Step::Encounter(step) => launch(kernel, work, bodies, *count, *step),
                    Step::Mosaic(step) => launch(kernel, work, bodies, *count, *step),
                }
            }
            (Self::Host { bodies }, Work::Host(work)) => {
                let (bodies, step) = (Arc::clone(bodies), *step);
                work.run(move |particles| {
                    let mut bodies = bodies.lock().unwrap_or_else(PoisonError::into_inner);
                    step.advance_all(&mut bodies, particles);
                })?;
                Ok(())
            }
            _ => anyhow::bail!("the particles are not where their exchange computes"),
        }
    }
}

fn launch<T: Pod>(
    kernel: &CudaFunction,
    mut work: CudaWork<'_, Shared>,
    bodies: &mut CudaSlice<u8>,
    count: u32,
    step: T,
) -> Result<()> {
    let step = Argument(step);
    let config =
        LaunchConfig { grid_dim: (count.div_ceil(BLOCK), 1, 1), block_dim: (BLOCK, 1, 1), shared_mem_bytes: 0 };
    let mut launch = work.stream.launch_builder(kernel);
    launch.arg(&mut work.resources).arg(bodies).arg(&count).arg(&step);
    // SAFETY: the four arguments are those of the kernel that `Step::kernel` names: `count` particles in the slot,
    // `count` bodies, and the step's own structure, whose size both sources assert. No thread goes past `count`.
    unsafe { launch.launch(config) }.context("the kernel that moves the particles cannot be launched")?;
    Ok(())
}
