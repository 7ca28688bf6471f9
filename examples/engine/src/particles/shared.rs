//! Bridge-specific part of the particles.
#![allow(unsafe_code)] // A kernel launch.

use anyhow::{Context, Result};
use bridge::{
    BufferAccess, BufferSpec, Compute, Exchange, Kernel, KernelMemory, LatestInfo, LatestReader, LatestWriter,
};
use bridge::{LaunchConfig, TwinSlice};

use super::{DT, LEN, advance, bodies};
use crate::kernels::KERNELS;
use crate::splice::SplicedLatest;

type Spec = BufferSpec<[f32; 4]>;
pub(super) type Lent = SplicedLatest<Spec>;
pub(super) type Reader = LatestReader<Spec>;

/// The simulation's half of the exchange; the engine's half is the reader.
pub(super) struct Stepper {
    writer: LatestWriter<Spec>,
    drift: Kernel,
    bodies: KernelMemory<[f32; 4]>,
}

impl Stepper {
    pub(super) fn new(compute: &Compute) -> Result<(Self, Reader)> {
        let spec = Spec::new(LEN, BufferAccess::VERTEX_INPUT | BufferAccess::TRANSFER_READ);
        let info = LatestInfo { name: "particles", ..LatestInfo::default() };
        let (writer, reader) = Exchange::latest(compute, &info, spec)?;
        type Params = (TwinSlice<[f32; 4]>, TwinSlice<[f32; 4]>, u32, u32, u32, f32);
        let twin = writer
            .compute()
            .load("engine.ptx", KERNELS)?
            .with_twin::<Params>("drift", |_, (vertices, bodies, _, steps, last, _)| {
                advance(bodies, steps, last, vertices)
            })?;
        let bodies = writer.compute().kernel_memory("bodies", &bodies())?;
        Ok((Self { writer, drift: twin.kernel("drift")?, bodies }, reader))
    }

    /// Enqueues `steps` steps, up to step `last`. May wait for the previous state, but not for a
    /// frame.
    pub(super) fn advance(&mut self, steps: u32, last: u32) -> Result<()> {
        let mut turn = self.writer.begin()?;
        let (work, config) = (turn.work().kernels()?, LaunchConfig::for_elements(LEN as u64, 256));
        // SAFETY: the arguments of `drift`: vertices and bodies, `LEN` of each, steps, and the
        // length of a step.
        unsafe { work.launch(&self.drift, &config, (work.resources, &self.bodies, LEN as u32, steps, last, DT)) }?;
        turn.publish().map(drop).context("the simulation's signal")
    }
}

/// Returns the newest state, which may be the last one again, or `None` before the first one. Does
/// not wait.
pub(super) fn newest(reader: &mut Reader) -> Result<Option<Lent>> {
    Ok(reader.newest()?.map(Lent::new).transpose()?)
}
