//! Kernels in the Vulkan queue compared with the same kernels on a CUDA stream, through the same
//! exchange.
#![allow(unsafe_code)] // Kernel launches.

use anyhow::{Result, bail};
use bridge::{Backend, BufferAccess, BufferSpec, Compute, Exchange, ExchangeInfo, Kernel, LaunchConfig, RenderTurn};

use super::frames::Frames;
use super::{Bench, Case, Rows};
use crate::harness::frames::{FrameLoop, MAX_BATCH, compare, walls};
use crate::harness::{LIMIT, Skip};
use crate::options::Profile;
use crate::raw::cuda::Module;
use crate::report::{Better, Bounded, Goal, Samples};

/// Number of elements in a slot's buffer.
const LEN: usize = 16 << 10;
const STREAM: &str = "on a CUDA stream";

/// Resources of a slot.
type Words = BufferSpec<u32>;

pub(super) fn cases(profile: &Profile) -> Vec<Case> {
    let slots: &[usize] = profile.pick(&[1, 2, 3], &[1, 3]);
    let kernels: &[usize] = profile.pick(&[1, 20], &[1]);
    let of = |slots: usize, kernels: usize| {
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        let what = format!(
            "frame, kernels in the Vulkan queue, {slots} slot{}, {kernels} kernel{}",
            plural(slots),
            plural(kernels)
        );
        let name = format!("inline/{slots}/{kernels}");
        Case::new(name, what.clone(), move |bench, rows| frames(bench, rows, slots, kernels, &what))
    };
    let latency = |kernels: usize| {
        let what = format!("frame of {kernels} kernel{}, from begin to done", if kernels == 1 { "" } else { "s" });
        let name = format!("inline/latency/{kernels}");
        Case::new(name, what.clone(), move |bench, rows| latency(bench, rows, kernels, &what))
    };
    let frames = kernels.iter().flat_map(|kernels| slots.iter().map(move |slots| of(*slots, *kernels)));
    frames.chain(kernels.iter().map(|kernels| latency(*kernels))).collect()
}

/// Measures frames with as many frames in flight as there are slots.
fn frames(bench: &Bench, rows: &mut Rows, slots: usize, kernels: usize, what: &str) -> Result<()> {
    rows.parameter("slots", slots);
    rows.parameter("kernels", kernels);
    let (inline, cuda) = sides(bench)?;
    let mut inline = ring(&inline, slots, kernels)?;
    let mut cuda = ring(&cuda, slots, kernels)?;
    let costs = compare(&bench.profile, MAX_BATCH, &mut [&mut inline, &mut cuda])?;
    let [inline, cuda] = &costs[..] else { bail!("two loops were measured") };
    let fifth = (slots == 1 && kernels == 1).then(|| Goal::times(0.2));
    rows.lower("wall", what, "µs", &inline.wall, &[Samples::rival(STREAM, &cuda.wall)], fifth)?;
    if !inline.cpu.is_empty() {
        let what = format!("{what}: processor time");
        rows.lower("cpu", what, "µs", &inline.cpu, &[Samples::rival(STREAM, &cuda.cpu)], None)?;
    }
    let none = Goal { of: Bounded::Value, bound: 0.0, better: Better::Lower, strict: true };
    let what = format!("{what}: heap allocations");
    rows.lower("allocations", what, "", &inline.allocations, &[Samples::rival(STREAM, &cuda.allocations)], Some(none))
}

/// Measures one frame at a time, including the host's wait for its end.
fn latency(bench: &Bench, rows: &mut Rows, kernels: usize, what: &str) -> Result<()> {
    rows.parameter("kernels", kernels);
    let (inline, cuda) = sides(bench)?;
    let mut inline = ring(&inline, 1, kernels)?;
    let mut cuda = ring(&cuda, 1, kernels)?;
    let costs = walls(&bench.profile, bench.profile.rounds, &[1, 1], &mut [&mut inline, &mut cuda])?;
    let [inline, cuda] = &costs[..] else { bail!("two loops were measured") };
    let tenth = (kernels == 1).then(|| Goal::times(0.1));
    rows.lower("wall", what, "µs", inline, &[Samples::rival(STREAM, cuda)], tenth)
}

/// Returns the same device with both backends that run kernels.
pub(super) fn sides(bench: &Bench) -> Result<(Compute, Compute)> {
    let device = &bench.gpu.device;
    bench.gpu.cuda()?;
    let Ok(inline) = Compute::new(device, Backend::Inline) else {
        return Skip::because(format!("{} runs no CUDA kernels in its command buffers", device.name()));
    };
    Ok((inline, bench.gpu.compute.clone()))
}

/// Returns frames of `kernels` kernels that each write one word, launched in the same way on both
/// sides.
pub(super) fn ring(compute: &Compute, slots: usize, kernels: usize) -> Result<impl FrameLoop> {
    let kernel: Kernel = compute.load("bench", Module::BENCH)?.kernel("touch")?;
    let info = ExchangeInfo { name: "frames", slots, timeout: LIMIT, ..Default::default() };
    let spec = BufferSpec::new(LEN, BufferAccess::TRANSFER_READ);
    let config = LaunchConfig::new([1, 1, 1], [32, 1, 1]);
    let one = move |exchange: &mut Exchange<Words>| -> Result<RenderTurn<Words>> {
        let mut turn = exchange.begin()?;
        let value = turn.frame() as u32;
        let work = turn.work().kernels()?;
        for _ in 0..kernels {
            // SAFETY: the kernel's two parameters; it writes the first word of the turn's own
            // buffer.
            unsafe { work.launch(&kernel, &config, (work.resources, value)) }?;
        }
        Ok(turn.finish()?)
    };
    Frames::on(compute, &info, spec, one, |_, _| {})
}
