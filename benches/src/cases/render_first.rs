//! A frame that Vulkan begins, with only the hand-over, compared with the same calls by hand.
#![allow(unsafe_code)] // Records and submits.

use anyhow::{Context, Result, bail};
use bridge::ash::vk;
use bridge::{BufferAccess, BufferSpec, Exchange, ExchangeInfo, QueueKind, RenderFirst, TimelinePoint};

use super::handover::{Words, write_word};
use super::{Bench, Case, Rows};
use crate::gpu::Gpu;
use crate::harness::frames::{FrameLoop, MAX_BATCH, compare};
use crate::harness::{LIMIT, spin_until};
use crate::options::Profile;
use crate::raw::commands::Commands;
use crate::raw::cuda::{Kernel, Module};
use crate::raw::ring::{Recording, Ring};
use crate::report::{Goal, RAW, Samples};

/// Number of elements in a slot's buffer.
const LEN: usize = 16 << 10;

pub(super) fn cases(profile: &Profile) -> Vec<Case> {
    let slots: &[usize] = profile.pick(&[1, 3], &[3]);
    let of = |slots: usize| {
        let what =
            format!("frame that Vulkan begins, graphics queue, {slots} slot{}", if slots == 1 { "" } else { "s" });
        Case::new(format!("renderfirst/{slots}"), what.clone(), move |bench, rows| run(bench, rows, slots, &what))
    };
    slots.iter().copied().map(of).collect()
}

fn run(bench: &Bench, rows: &mut Rows, slots: usize, what: &str) -> Result<()> {
    let gpu = &bench.gpu;
    rows.parameter("slots", slots);
    let module = gpu.compute.cuda().map(|cuda| Module::load(cuda, Module::BENCH)).transpose()?;
    let kernel = module.as_ref().map(|module| module.kernel(c"touch")).transpose()?;
    let mut ours = Frames::new(gpu, slots, kernel)?;
    let mut raw = Ring::new(gpu, QueueKind::Graphics, slots, 1, LEN as u64 * 4, Recording::Once)?.render_first();
    let costs = compare(&bench.profile, MAX_BATCH, &mut [&mut ours, &mut raw])?;
    let [ours, raw] = &costs[..] else { bail!("two loops were measured") };
    let twin = gpu.is_cuda();
    let against =
        |samples| if twin { Samples::rival(RAW, samples) } else { Samples::comparison("on one thread", samples) };
    rows.lower("wall", what, "µs", &ours.wall, &[against(&raw.wall)], twin.then(|| Goal::times(1.02)))?;
    if !ours.cpu.is_empty() {
        let what = format!("{what}: processor time");
        rows.lower("cpu", what, "µs", &ours.cpu, &[against(&raw.cpu)], twin.then(|| Goal::adds(0.3)))?;
    }
    Ok(())
}

/// Frames through an exchange, recorded once per slot.
struct Frames {
    // Field order is drop order: dropping the exchange waits for the frames, which use the fields
    // after it.
    exchange: Exchange<Words, RenderFirst>,
    commands: Commands,
    recorded: Vec<bool>,
    kernel: Option<Kernel>,
    last: Option<TimelinePoint>,
}

impl Frames {
    fn new(gpu: &Gpu, slots: usize, kernel: Option<Kernel>) -> Result<Self> {
        let info = ExchangeInfo { name: "frames", slots, timeout: LIMIT, ..Default::default() };
        let spec = BufferSpec::new(LEN, BufferAccess::TRANSFER_READ);
        let exchange = Exchange::render_first(&gpu.compute, &info, spec)?;
        let commands = Commands::new(&gpu.device, exchange.queue(), slots)?;
        Ok(Self { exchange, commands, recorded: vec![false; slots], kernel, last: None })
    }
}

impl FrameLoop for Frames {
    fn frame(&mut self) -> Result<()> {
        let turn = self.exchange.begin()?;
        let slot = turn.slot();
        let recorded = self.recorded.get_mut(slot).context("no such slot")?;
        if !*recorded {
            let record = |commands| {
                // SAFETY: recording, for the family of the exchange's queue; valid with every turn
                // of this slot, whose barriers are always the same.
                unsafe { turn.record_acquire(commands) };
                // SAFETY: as above.
                unsafe { turn.record_release(commands) };
            };
            // SAFETY: not submitted yet.
            unsafe { self.commands.record(slot, vk::CommandBufferUsageFlags::SIMULTANEOUS_USE, record) }?;
            *recorded = true;
        }
        // SAFETY: recorded for this slot, with its barriers; outlives the frames, for which the
        // exchange waits.
        let mut turn = unsafe { turn.submit(&[self.commands.get(slot)?]) }?;
        let value = turn.frame() as u32;
        write_word(turn.work(), self.kernel, value)?;
        self.last = Some(turn.finish()?);
        Ok(())
    }

    fn drain(&mut self) -> Result<()> {
        let Some(last) = self.last.take() else { return Ok(()) };
        spin_until("the last frame", || Ok(last.is_reached()?))
    }
}
