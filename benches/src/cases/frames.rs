//! Frames through an exchange whose commands are the same every time: recorded once a slot, as by
//! hand.
#![allow(unsafe_code)] // Records and submits.

use anyhow::Result;
use bridge::ash::vk;
use bridge::{Compute, Exchange, ExchangeInfo, RenderTurn, Resources, TimelinePoint};

use crate::gpu::Gpu;
use crate::harness::frames::FrameLoop;
use crate::harness::spin_until;
use crate::raw::commands::Commands;

/// The frames; `C` is the compute side's part, from `begin` to `finish`. What that uses outlives
/// this.
pub(super) struct Frames<R: Resources, C> {
    // Field order is drop order: what waits for the frames goes before their commands. That is the
    // exchange, or a graph that `C` holds.
    exchange: Exchange<R>,
    compute: C,
    commands: Commands,
    last: Option<TimelinePoint>,
}

impl<R: Resources, C: FnMut(&mut Exchange<R>) -> Result<RenderTurn<R>>> Frames<R, C> {
    /// `record` records what Vulkan does with a slot, between the two barriers; what that uses
    /// outlives the result, and is the slot's alone.
    pub(super) fn new(
        gpu: &Gpu,
        info: &ExchangeInfo<'_>,
        resources: R,
        compute: C,
        record: impl Fn(&RenderTurn<R>, vk::CommandBuffer),
    ) -> Result<Self> {
        Self::on(&gpu.compute, info, resources, compute, record)
    }

    /// [`new`](Self::new) on another compute side.
    pub(super) fn on(
        side: &Compute,
        info: &ExchangeInfo<'_>,
        resources: R,
        compute: C,
        record: impl Fn(&RenderTurn<R>, vk::CommandBuffer),
    ) -> Result<Self> {
        let mut exchange = Exchange::new(side, info, resources)?;
        let commands = Commands::new(side.device(), exchange.queue(), info.slots)?;
        // All at once, since a slot that is skipped is the next to be taken again.
        let turns = (0..info.slots).map(|_| Ok(exchange.begin()?.finish()?)).collect::<Result<Vec<_>>>()?;
        for turn in turns {
            let record = |commands| {
                // SAFETY: recording, for the family of the exchange's queue; goes with every turn
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
        Ok(Self { exchange, compute, commands, last: None })
    }
}

impl<R: Resources, C: FnMut(&mut Exchange<R>) -> Result<RenderTurn<R>>> FrameLoop for Frames<R, C> {
    fn frame(&mut self) -> Result<()> {
        let turn = (self.compute)(&mut self.exchange)?;
        let commands = self.commands.get(turn.slot())?;
        // SAFETY: recorded for this slot, with its barriers; outlives the frames, which the
        // exchange waits for.
        self.last = Some(unsafe { turn.submit(&[commands]) }?);
        Ok(())
    }

    fn drain(&mut self) -> Result<()> {
        let Some(last) = self.last.take() else { return Ok(()) };
        spin_until("the last frame", || Ok(last.is_reached()?))
    }
}
