//! A frame with only the hand-over: the cost of the exchange compared with the same calls by hand.
#![allow(unsafe_code)] // Kernel launches.

use std::time::Duration;

use anyhow::{Context, Result};
use bridge::{BufferAccess, BufferSpec, Exchange, ExchangeInfo, QueueKind, RenderTurn, Work};

use super::frames::Frames;
use super::{Bench, Case, Rows};
use crate::harness::LIMIT;
use crate::harness::frames::{FrameLoop, MAX_BATCH, batch_size, compare, walls};
use crate::harness::stats::Summary;
use crate::options::Profile;
use crate::raw::cuda::{Kernel, Module};
use crate::raw::ring::{Recording, Ring, touch};
use crate::report::{Better, Bounded, Goal, RAW, Samples};

/// Number of elements in a slot's buffer.
const LEN: usize = 16 << 10;

/// Resources of a slot.
pub(super) type Words = BufferSpec<u32>;

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
    let module = gpu.compute.cuda().map(|cuda| Module::load(cuda, Module::BENCH)).transpose()?;
    let kernel = module.as_ref().map(|module| module.kernel(c"touch")).transpose()?;
    let info = ExchangeInfo { name: "frames", slots, timeout: LIMIT, queue: kind, ..Default::default() };
    let spec = BufferSpec::new(LEN, BufferAccess::TRANSFER_READ);
    let mut ours_loop = Frames::new(gpu, &info, spec, |exchange| compute(exchange, kernel), |_, _| {})?;
    let mut raw_loop = Ring::new(gpu, kind, slots, 1, LEN as u64 * 4, Recording::Once)?;
    let costs = compare(&bench.profile, MAX_BATCH, &mut [&mut ours_loop, &mut raw_loop])?;
    let [ours, raw] = &costs[..] else { anyhow::bail!("two loops were measured") };
    // By hand and without CUDA, one thread does everything, so there is no equivalent to two
    // parallel sides.
    let twin = gpu.is_cuda();
    let against =
        |samples| if twin { Samples::rival(RAW, samples) } else { Samples::comparison("on one thread", samples) };
    let wall = twin.then(|| Goal::times(1.02));
    rows.lower("wall", what, "µs", &ours.wall, &[against(&raw.wall)], wall)?;
    if !ours.cpu.is_empty() {
        let what = format!("{what}: processor time");
        rows.lower("cpu", what, "µs", &ours.cpu, &[against(&raw.cpu)], twin.then(|| Goal::adds(0.3)))?;
    }
    let none = Goal { of: Bounded::Value, bound: 0.0, better: Better::Lower, strict: true };
    let allocated = format!("{what}: heap allocations");
    rows.lower("allocations", allocated, "", &ours.allocations, &[against(&raw.allocations)], Some(none))?;
    if kind == QueueKind::Transfer && twin {
        let added = Summary::of(&ours.cpu).zip(Summary::of(&raw.cpu)).map(|(ours, raw)| ours.median - raw.median);
        alike(bench, rows, what, added.unwrap_or_default(), &mut ours_loop, &mut raw_loop)?;
    }
    Ok(())
}

/// Checks whether the frame takes longer than by hand because of its processor time, if that is the
/// limiting factor: then frames by hand with the same processor time take as long. If the bridge's
/// frames still take longer, their GPU work differs.
fn alike(
    bench: &Bench,
    rows: &mut Rows,
    what: &str,
    added: f64,
    ours: &mut dyn FrameLoop,
    raw: &mut Ring<'_>,
) -> Result<()> {
    raw.set_delay(Duration::try_from_secs_f64(added / 1e6).unwrap_or_default());
    let profile = &bench.profile;
    let mut loops: [&mut dyn FrameLoop; 2] = [ours, raw];
    let frames = batch_size(profile.slice, MAX_BATCH, &mut loops)?;
    let taken = walls(profile, profile.rounds, &frames, &mut loops)?;
    let [ours, raw] = &taken[..] else { anyhow::bail!("two loops were measured") };
    rows.parameter("delay_us", added.max(0.0));
    let what = format!("{what}: the processor's time alike");
    rows.lower("wall_alike", what, "µs", ours, &[Samples::rival("raw calls, slowed down", raw)], None)
}

/// The compute side's part of a frame. The kernel is launched as by hand, so that only the bridge
/// differs.
pub(super) fn compute(exchange: &mut Exchange<Words>, kernel: Option<Kernel>) -> Result<RenderTurn<Words>> {
    let mut turn = exchange.begin()?;
    let value = turn.frame() as u32;
    write_word(turn.work(), kernel, value)?;
    Ok(turn.finish()?)
}

/// Writes the first word of a slot.
pub(super) fn write_word(work: Work<'_, Words>, kernel: Option<Kernel>, value: u32) -> Result<()> {
    match work {
        Work::Cuda(cuda) => {
            let kernel = kernel.context("no kernel")?;
            // SAFETY: the slot belongs to this turn, and the stream is the turn's.
            unsafe { touch(kernel, cuda.stream.cu_stream(), cuda.resources.as_raw(), value) }?;
        }
        Work::Host(host) => host.run(move |words| words.iter_mut().take(1).for_each(|word| *word = value))?,
        _ => anyhow::bail!("no bench of this backend"),
    }
    Ok(())
}
