//! What is bridge-specific about the particles.
#![allow(unsafe_code)] // A kernel launch.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use bridge::{Backend, BufferAccess, BufferSpec, Compute, Exchange, Kernel, KernelMemory, LatestInfo, LatestReader};
use bridge::{LatestWriter, LaunchConfig, Work};

use super::{Bodies, DT, LEN};
use crate::KERNELS;
use crate::splice::SplicedLatest;

type Spec = BufferSpec<[f32; 4]>;
pub(super) type Lent = SplicedLatest<Spec>;
pub(super) type Reader = LatestReader<Spec>;

enum Simulation {
    Kernel(Kernel, KernelMemory<[f32; 4]>),
    Host(Arc<Mutex<Bodies>>),
}

/// The simulation's half; the engine's is the reader.
pub(super) struct Stepper {
    writer: LatestWriter<Spec>,
    simulation: Simulation,
}

impl Stepper {
    pub(super) fn new(compute: &Compute) -> Result<(Self, Reader)> {
        let spec = Spec::new(LEN, BufferAccess::VERTEX_INPUT | BufferAccess::TRANSFER_READ);
        let info = LatestInfo { name: "particles", ..LatestInfo::default() };
        let (writer, reader) = Exchange::latest(compute, &info, spec)?;
        let bodies = Bodies::new();
        let simulation = match compute.backend() {
            Backend::Host => Simulation::Host(Arc::new(Mutex::new(bodies))),
            _ => Simulation::Kernel(
                writer.compute().load("engine.ptx", KERNELS)?.kernel("drift")?,
                writer.compute().kernel_memory("bodies", &bodies.all)?,
            ),
        };
        Ok((Self { writer, simulation }, reader))
    }

    /// Simulates `steps` steps, the last one being `last`. Waits for the state before the last one, and for no frame.
    pub(super) fn advance(&mut self, steps: u32, last: u32) -> Result<()> {
        let mut turn = self.writer.begin()?;
        match (&self.simulation, turn.work()) {
            (Simulation::Host(bodies), Work::Host(work)) => {
                let bodies = Arc::clone(bodies);
                let advance = move |vertices: &mut [[f32; 4]]| {
                    bodies.lock().unwrap_or_else(PoisonError::into_inner).advance(steps, last, vertices);
                };
                work.run(advance)?;
            }
            (Simulation::Kernel(drift, bodies), work) => {
                let (work, config) = (work.kernels()?, LaunchConfig::for_elements(LEN as u64, 256));
                // SAFETY: the arguments of `drift`: vertices and bodies, `LEN` of each, steps, and the length of a step.
                unsafe { work.launch(drift, &config, (work.resources, bodies, LEN as u32, steps, last, DT)) }?;
            }
            _ => anyhow::bail!("the bodies are not where their exchange computes"),
        }
        turn.publish().map(drop).context("the simulation's signal")
    }
}

/// The newest state, which may be the last one again; `None` before the first one. Never waits.
pub(super) fn newest(reader: &mut Reader) -> Result<Option<Lent>> {
    Ok(reader.newest()?.map(Lent::new).transpose()?)
}
