//! What is bridge-specific about the particles.
#![allow(unsafe_code)] // A kernel launch.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use bridge::{Backend, BufferAccess, BufferSpec, Compute, ComputeFirst, Exchange, ExchangeInfo, Kernel, KernelMemory};
use bridge::{LaunchConfig, RenderTurn, Work};

use super::{Bodies, DT, LEN};
use crate::KERNELS;
use crate::splice::Spliced;

pub(super) type Spec = BufferSpec<[f32; 4]>;
pub(super) type Turn = RenderTurn<Spec>;
pub(super) type Lent = Spliced<Spec, ComputeFirst>;

enum Simulation {
    Kernel(Kernel, KernelMemory<[f32; 4]>),
    Host(Arc<Mutex<Bodies>>),
}

pub(super) struct Stepper {
    exchange: Exchange<Spec>,
    simulation: Simulation,
}

impl Stepper {
    pub(super) fn new(compute: &Compute) -> Result<Self> {
        let bodies = Bodies::new();
        let simulation = match compute.backend() {
            Backend::Host => Simulation::Host(Arc::new(Mutex::new(bodies))),
            _ => Simulation::Kernel(
                compute.load("engine.ptx", KERNELS)?.kernel("drift")?,
                compute.kernel_memory("bodies", &bodies.all)?,
            ),
        };
        // One is computed, one is offered, one is drawn, one is still drawn on the GPU.
        let info = ExchangeInfo { name: "particles", slots: 4, ..ExchangeInfo::default() };
        let exchange = Exchange::new(compute, &info, Spec::new(LEN, BufferAccess::TRANSFER_READ))?;
        Ok(Self { exchange, simulation })
    }

    /// Simulates `steps` steps, the last one being `last`. Does not wait.
    pub(super) fn advance(&mut self, steps: u32, last: u32) -> Result<Turn> {
        let mut turn = self.exchange.begin()?;
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
        turn.finish().context("the simulation's signal")
    }
}
