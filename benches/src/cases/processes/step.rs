//! A worker in step, compared with the same exchange in one process.
#![allow(unsafe_code)] // Submissions.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use bridge::{BufferAccess, BufferSpec, Exchange, ExchangeInfo, RemoteExchangeReader, RenderTurn, TimelinePoint};

use super::worker_process::{Endpoint, WorkerProcess};
use super::{LONG, Spec, launch};
use crate::cases::{Bench, Case, Rows};
use crate::harness::LIMIT;
use crate::harness::rounds::alternate;
use crate::options::Profile;
use crate::report::Samples;
use crate::worker::Scrambler;

pub(super) fn cases(profile: &Profile) -> Vec<Case> {
    let slots: &[usize] = profile.pick(&[1, 2, 3], &[2]);
    let sizes = profile.pick(vec![("", LONG), ("short/", 1)], vec![("", 1)]);
    let cases = sizes.into_iter().flat_map(|(prefix, kernels)| {
        slots.iter().map(move |&slots| {
            let plural = if slots == 1 { "" } else { "s" };
            let short = if prefix.is_empty() { "" } else { "short " };
            let what = format!("{short}frame of a worker in step in another process, {slots} slot{plural}");
            let name = format!("processes/step/{prefix}{slots}");
            Case::new(name, what.clone(), move |bench, rows| run(bench, rows, slots, kernels, &what))
        })
    });
    cases.collect()
}

fn run(bench: &Bench, rows: &mut Rows, slots: usize, kernels: usize, what: &str) -> Result<()> {
    let gpu = &bench.gpu;
    let (len, frames) = if gpu.is_cuda() { (4 << 20, bench.profile.pick(1000, 100)) } else { (64 << 10, 50) };
    rows.parameter("kernels", kernels);
    rows.parameter("bytes", 4 * len);
    rows.parameter("frames", frames);
    rows.parameter("slots", slots);
    let info = ExchangeInfo { name: "processes", slots, timeout: LIMIT, ..Default::default() };
    let spec = BufferSpec::new(len, BufferAccess::TRANSFER_READ);
    let place = Endpoint::new()?;
    let (mut other, remote) = WorkerProcess::start(gpu, &place, true)?;
    let mut steps = remote.exchange(&info, spec.clone())?;
    let scrambler = gpu.compute.cuda().map(|cuda| Scrambler::new(cuda.device())).transpose()?;
    let mut exchange = Exchange::new(&gpu.compute, &info, spec)?;
    let samples = alternate(&bench.profile, bench.profile.rounds, 2, |way| {
        let took = match way {
            0 => draw(&mut steps, &mut other, frames, kernels)?,
            _ => make(&mut exchange, scrambler.as_ref(), frames, kernels)?,
        };
        Ok(took.as_secs_f64() * 1e6 / frames as f64)
    })?;
    exchange.close()?;
    steps.close()?;
    other.end()?;
    let [theirs, ours] = &samples[..] else { bail!("two ways were measured") };
    const OWN: &str = "in one process, on one thread";
    let ours = if gpu.is_cuda() { Samples::rival(OWN, ours) } else { Samples::comparison(OWN, ours) };
    rows.lower("", what, "µs", theirs, &[ours], None)
}

/// Submits each frame when it is announced, until all have completed.
fn draw(
    steps: &mut RemoteExchangeReader<Spec>,
    other: &mut WorkerProcess,
    frames: usize,
    kernels: usize,
) -> Result<Duration> {
    let begun = Instant::now();
    let (mut left, mut last) = (frames, None);
    other.ask(frames, kernels)?;
    while left > 0 {
        if let Some(turn) = steps.next(LIMIT)? {
            last = Some(submit(turn)?);
            left -= 1;
        }
    }
    finish(last)?;
    let took = begun.elapsed();
    other.took()?;
    Ok(took)
}

fn make(
    exchange: &mut Exchange<Spec>,
    scrambler: Option<&Scrambler>,
    frames: usize,
    kernels: usize,
) -> Result<Duration> {
    let begun = Instant::now();
    let mut last = None;
    for _ in 0..frames {
        let mut turn = exchange.begin()?;
        let number = turn.frame();
        launch(turn.work(), scrambler, number, kernels)?;
        last = Some(submit(turn.finish()?)?);
    }
    finish(last)?;
    Ok(begun.elapsed())
}

fn submit(turn: RenderTurn<Spec>) -> Result<TimelinePoint> {
    // SAFETY: no commands use the slot, so there is nothing to acquire or release.
    Ok(unsafe { turn.submit(&[]) }?)
}

/// Waits for the last frame. The queues of either side hold a thousand frames: without the wait,
/// most of them would not be measured.
fn finish(last: Option<TimelinePoint>) -> Result<()> {
    Ok(last.map_or(Ok(()), |point| point.wait(LIMIT))?)
}
