//! Startup times: from a device to the first frame, and from the start of a process to the first
//! frame.
#![allow(unsafe_code)] // Records and submits.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use bridge::ash::vk;
use bridge::{BufferAccess, BufferSpec, Exchange, ExchangeInfo, QueueKind};

use super::handover::compute;
use super::{Bench, Case, Rows};
use crate::cold::{BEGUN, Cold};
use crate::gpu::Gpu;
use crate::harness::frames::FrameLoop as _;
use crate::harness::rounds::alternate;
use crate::harness::{LIMIT, spin_until};
use crate::options::Profile;
use crate::raw::commands::Commands;
use crate::raw::cuda::Module;
use crate::raw::ring::{Once, Recording, Ring};
use crate::report::{RAW, Samples};

const SLOTS: usize = 3;
/// Number of elements in a slot's buffer.
const LEN: usize = 16 << 10;

pub(super) fn cases(_: &Profile) -> Vec<Case> {
    let first = "first frame: an exchange of 3 slots made, its kernel loaded, a frame recorded and done";
    let cold = "cold start: from the start of a process to its first frame done";
    vec![
        Case::new("start/first-frame", first, move |bench, rows| first_frame(bench, rows, first)),
        Case::new("start/cold", cold, move |bench, rows| cold_start(bench, rows, cold)),
    ]
}

fn first_frame(bench: &Bench, rows: &mut Rows, what: &str) -> Result<()> {
    let gpu = &bench.gpu;
    rows.parameter("slots", SLOTS);
    let samples = alternate(&bench.profile, bench.profile.rounds, 2, |way| {
        if way == 0 {
            return ours(gpu);
        }
        // Created before the measurement, because the compute side has its stream already.
        let once = Once::new(gpu)?;
        let begun = Instant::now();
        let size = LEN as u64 * 4;
        let mut ring = Ring::with(gpu, once, QueueKind::Graphics, SLOTS, (1, size), Recording::EachFrame(1))?;
        ring.frame()?;
        ring.drain()?;
        Ok(begun.elapsed().as_secs_f64() * 1e6)
    })?;
    let [ours, raw] = &samples[..] else { bail!("two ways were measured") };
    let name = if gpu.is_cuda() { RAW } else { "raw calls, on one thread" };
    let raw = if gpu.is_cuda() { Samples::rival(name, raw) } else { Samples::comparison(name, raw) };
    rows.lower("", what, "µs", ours, &[raw], None)
}

/// Returns the microseconds of a first frame through an exchange; the resources are dropped after
/// the measurement, as by hand.
fn ours(gpu: &Gpu) -> Result<f64> {
    let begun = Instant::now();
    let module = gpu.compute.cuda().map(|cuda| Module::load(cuda, Module::BENCH)).transpose()?;
    let kernel = module.as_ref().map(|module| module.kernel(c"touch")).transpose()?;
    let info = ExchangeInfo { name: "first", slots: SLOTS, timeout: LIMIT, ..Default::default() };
    let spec = BufferSpec::new(LEN, BufferAccess::TRANSFER_READ);
    let mut exchange = Exchange::new(&gpu.compute, &info, spec)?;
    let commands = Commands::new(&gpu.device, exchange.queue(), 1)?;
    let turn = compute(&mut exchange, kernel)?;
    let record = |commands| {
        // SAFETY: recording, for the family of the exchange's queue; submitted with this turn.
        unsafe { turn.record_acquire(commands) };
        // SAFETY: as above.
        unsafe { turn.record_release(commands) };
    };
    // SAFETY: not submitted yet.
    let recorded = unsafe { commands.record(0, vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT, record) }?;
    // SAFETY: recorded for this turn, which is waited for before the commands are dropped.
    let rendered = unsafe { turn.submit(&[recorded]) }?;
    spin_until("the first frame", || Ok(rendered.is_reached()?))?;
    let took = begun.elapsed().as_secs_f64() * 1e6;
    // Closed before the kernel's module and the commands are dropped.
    exchange.close()?;
    Ok(took)
}

fn cold_start(bench: &Bench, rows: &mut Rows, what: &str) -> Result<()> {
    let gpu = &bench.gpu;
    let ways = [Cold::Bridge, Cold::Devices, Cold::Nothing];
    let samples = alternate(&bench.profile, bench.profile.pick(10, 3), ways.len(), |way| {
        start(gpu, *ways.get(way).context("no such way")?)
    })?;
    let [ours, devices, nothing] = &samples[..] else { bail!("three ways were measured") };
    let others = [
        Samples::comparison("instance, device and CUDA context by hand, no frame", devices),
        Samples::comparison("a process that does nothing", nothing),
    ];
    rows.lower("", what, "ms", ours, &others, None)
}

/// Returns the milliseconds from the start of this program in another process until that process
/// reports that its part is done.
fn start(gpu: &Gpu, way: Cold) -> Result<f64> {
    let mut command = Command::new(std::env::current_exe().context("this program does not know its file")?);
    command.args(["--cold-start", way.name(), "--gpu", &gpu.device.uuid().to_string()]);
    command.args(["--backend", &gpu.compute.backend().to_string()]);
    let begun = Instant::now();
    let mut child =
        command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().context("cannot start this program again")?;
    let mut output = [0];
    let read = child.stdout.take().context("no output")?.read_exact(&mut output);
    let took = begun.elapsed().as_secs_f64() * 1e3;
    // The exit of the process is not part of its start.
    let status = child.wait()?;
    ensure!(
        read.is_ok() && output == BEGUN && status.success(),
        "the process for a cold start ({}) failed: {status}",
        way.name()
    );
    Ok(took)
}
