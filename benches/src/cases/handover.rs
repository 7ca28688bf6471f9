//! A frame that hands over and does nothing else: what the exchange costs beside the same calls by hand.
#![allow(unsafe_code)] // Records and submits.

use anyhow::{Context, Result};
use bridge::ash::vk;
use bridge::{BufferSpec, Consumer, Exchange, ExchangeInfo, QueueKind, TimelinePoint, Work};

use super::{Bench, Case, Rows};
use crate::gpu::Gpu;
use crate::harness::frames::{FrameLoop, MOST, compare};
use crate::harness::{LIMIT, spin_until};
use crate::options::Profile;
use crate::raw::commands::Commands;
use crate::raw::cuda::{Kernel, Module};
use crate::raw::ring::{Recording, Ring, touch};
use crate::report::{Better, Bounded, Goal, RAW, Samples};

/// Elements of a slot's buffer.
const LEN: usize = 16 << 10;

pub(super) fn cases(profile: &Profile) -> Vec<Case> {
    let slots: &[usize] = profile.pick(&[1, 2, 3, 4, 6, 8], &[1, 3]);
    let of = |kind: QueueKind, slots: usize| {
        let what = format!("frame, {kind} queue, {slots} slot{}", if slots == 1 { "" } else { "s" });
        let name = format!("handover/{kind}/{slots}");
        Case::new(name, what.clone(), move |bench, rows| run(bench, rows, kind, slots, &what))
    };
    let kinds = [QueueKind::Graphics, QueueKind::Compute, QueueKind::Transfer];
    kinds.into_iter().flat_map(|kind| slots.iter().map(move |slots| of(kind, *slots))).collect()
}

fn run(bench: &Bench, rows: &mut Rows, kind: QueueKind, slots: usize, what: &str) -> Result<()> {
    let gpu = &bench.gpu;
    gpu.queue(kind)?;
    rows.parameter("queue", kind.to_string());
    rows.parameter("slots", slots);
    let mut ours = Frames::new(gpu, kind, slots)?;
    let mut raw = Ring::new(gpu, kind, slots, 1, LEN as u64 * 4, Recording::Once)?;
    let costs = compare(&bench.profile, MOST, &mut [&mut ours, &mut raw])?;
    let [ours, raw] = &costs[..] else { anyhow::bail!("two loops were measured") };
    // By hand and without CUDA, one thread does everything: no twin of two that work side by gpu.
    let twin = gpu.is_cuda();
    let against = |samples| if twin { Samples::rival(RAW, samples) } else { Samples::beside("on one thread", samples) };
    let wall = twin.then(|| Goal::times(1.02));
    rows.lower("wall", what, "µs", &ours.wall, &[against(&raw.wall)], wall)?;
    if !ours.cpu.is_empty() {
        let adds = Goal { of: Bounded::Difference, bound: 1.0, better: Better::Lower, strict: false };
        let what = format!("{what}: processor time");
        rows.lower("cpu", what, "µs", &ours.cpu, &[against(&raw.cpu)], twin.then_some(adds))?;
    }
    let none = Goal { of: Bounded::Value, bound: 0.0, better: Better::Lower, strict: true };
    let what = format!("{what}: heap allocations");
    rows.lower("allocations", what, "", &ours.allocations, &[against(&raw.allocations)], Some(none))
}

/// Frames through an exchange. The commands of a slot are the same in every frame, so they are recorded once, as by hand.
struct Frames {
    // Field order is drop order: dropping the exchange waits for the frames, which use what comes after it.
    exchange: Exchange<BufferSpec<u32>>,
    commands: Commands,
    last: Option<TimelinePoint>,
    touch: Option<(Kernel, Module)>,
}

impl Frames {
    fn new(gpu: &Gpu, queue: QueueKind, slots: usize) -> Result<Self> {
        let spec = BufferSpec::new(LEN, Consumer::TRANSFER_READ);
        let info = ExchangeInfo { name: "frames", slots, timeout: LIMIT, queue, ..Default::default() };
        let touch = gpu.compute.cuda().map(|cuda| {
            let module = Module::load(cuda, Module::BENCH)?;
            anyhow::Ok((module.kernel(c"touch")?, module))
        });
        let exchange = Exchange::new(&gpu.compute, &info, spec)?;
        let commands = Commands::new(&gpu.device, exchange.queue(), slots)?;
        let mut frames = Self { exchange, commands, last: None, touch: touch.transpose()? };
        for slot in 0..slots {
            let turn = frames.exchange.begin()?.finish()?;
            let usage = vk::CommandBufferUsageFlags::SIMULTANEOUS_USE;
            let record = |commands| {
                // SAFETY: recording, for the family of the device's queue; goes with every turn of this slot, whose
                // barriers are always the same.
                unsafe { turn.record_acquire(commands) };
                // SAFETY: as above.
                unsafe { turn.record_release(commands) };
            };
            // SAFETY: not submitted yet.
            unsafe { frames.commands.record(slot, usage, record) }?;
            turn.skip();
        }
        Ok(frames)
    }
}

impl FrameLoop for Frames {
    fn frame(&mut self) -> Result<()> {
        let mut turn = self.exchange.begin()?;
        let value = turn.frame() as u32;
        match turn.work() {
            // The kernel is launched as by hand: what differs is the bridge.
            Work::Cuda(cuda) => {
                let (kernel, _) = self.touch.as_ref().context("no kernel")?;
                // SAFETY: the slot is this turn's, on its stream.
                unsafe { touch(*kernel, cuda.stream.cu_stream(), cuda.resources.as_raw(), value) }?;
            }
            Work::Host(host) => host.run(move |words| words.iter_mut().take(1).for_each(|word| *word = value))?,
        }
        let turn = turn.finish()?;
        let commands = self.commands.get(turn.slot())?;
        // SAFETY: recorded for this slot, with its barriers; outlives the frames, which the exchange waits for.
        self.last = Some(unsafe { turn.submit(self.exchange.queue(), &[commands]) }?);
        Ok(())
    }

    fn drain(&mut self) -> Result<()> {
        let Some(last) = self.last.take() else { return Ok(()) };
        spin_until("the last frame", || Ok(last.is_reached()?))
    }
}
