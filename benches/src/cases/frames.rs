//! Frames through an exchange whose commands are always the same: recorded once per slot, as by
//! hand.
#![allow(unsafe_code)] // Records and submits.

use anyhow::Result;
use bridge::ash::vk;
use bridge::{Compute, Exchange, ExchangeInfo, RenderTurn, Resources, TimelinePoint};

use crate::gpu::Gpu;
use crate::harness::frames::FrameLoop;
use crate::harness::{LIMIT, spin_until};
use crate::raw::commands::Commands;

/// The frames; `C` is the compute side's part, from `begin` to `finish`. The resources that `C`
/// uses outlive this value.
pub(super) struct Frames<R: Resources, C> {
    // Field order is drop order: the value that waits for the frames (the exchange, or a graph in
    // `C`) is dropped before their commands.
    exchange: Exchange<R>,
    compute: C,
    commands: Commands,
    last: Option<TimelinePoint>,
    blocks: bool,
}

impl<R: Resources, C: FnMut(&mut Exchange<R>) -> Result<RenderTurn<R>>> Frames<R, C> {
    /// `record` records what Vulkan does with a slot, between the two barriers; the resources that
    /// it uses outlive the result and belong to that slot only.
    pub(super) fn new(
        gpu: &Gpu,
        info: &ExchangeInfo<'_>,
        resources: R,
        compute: C,
        record: impl Fn(&RenderTurn<R>, vk::CommandBuffer),
    ) -> Result<Self> {
        Self::on(&gpu.compute, info, resources, compute, record)
    }

    /// Like [`new`](Self::new), on another compute side.
    pub(super) fn on(
        side: &Compute,
        info: &ExchangeInfo<'_>,
        resources: R,
        compute: C,
        record: impl Fn(&RenderTurn<R>, vk::CommandBuffer),
    ) -> Result<Self> {
        let mut exchange = Exchange::new(side, info, resources)?;
        let commands = Commands::new(side.device(), exchange.queue(), info.slots)?;
        // All slots at once, because a skipped slot is the next one to be taken again.
        let turns = (0..info.slots).map(|_| Ok(exchange.begin()?.finish()?)).collect::<Result<Vec<_>>>()?;
        for turn in turns {
            let record = |commands| {
                // SAFETY: recording, for the family of the exchange's queue; valid with every turn
                // of this slot, whose barriers are always the same.
                unsafe { turn.record_acquire(commands) };
                record(&turn, commands);
                // SAFETY: as above.
                unsafe { turn.record_release(commands) };
            };
            // SAFETY: not submitted yet.
            unsafe { commands.record(turn.slot(), vk::CommandBufferUsageFlags::SIMULTANEOUS_USE, record) }?;
            turn.skip();
        }
        Ok(Self { exchange, compute, commands, last: None, blocks: false })
    }

    /// Ends batches with a wait that blocks instead of a loop without pause: the threads of the CPU
    /// backend and of a software queue need the processor.
    pub(super) fn blocking(self) -> Self {
        Self { blocks: true, ..self }
    }
}

impl<R: Resources, C: FnMut(&mut Exchange<R>) -> Result<RenderTurn<R>>> FrameLoop for Frames<R, C> {
    fn frame(&mut self) -> Result<()> {
        let turn = (self.compute)(&mut self.exchange)?;
        let commands = self.commands.get(turn.slot())?;
        // SAFETY: recorded for this slot, with its barriers; outlives the frames, for which the
        // exchange waits.
        self.last = Some(unsafe { turn.submit(&[commands]) }?);
        Ok(())
    }

    fn drain(&mut self) -> Result<()> {
        let Some(last) = self.last.take() else { return Ok(()) };
        if self.blocks {
            return Ok(last.wait_blocking(LIMIT)?);
        }
        spin_until("the last frame", || Ok(last.is_reached()?))
    }
}
