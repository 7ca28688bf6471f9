//! A writer in a separate process, compared with the same writer on a thread of the renderer:
//! consecutive frames while the renderer takes the newest one.
#![allow(unsafe_code)] // Kernel launches.

mod alone;
mod reconnect;
mod step;
mod worker_process;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use bridge::{BufferAccess, BufferSpec, Exchange, LatestInfo, LatestWriter, Work};

use super::{Bench, Case, Rows};
use crate::harness::LIMIT;
use crate::harness::rounds::alternate;
use crate::options::Profile;
use crate::report::{Goal, Samples};
use crate::worker::Scrambler;
use worker_process::{Endpoint, WorkerProcess};

/// Interval at which the renderer takes a frame. It is fixed, so that equally many frames of either
/// writer are read: each read costs the writer a switch of the GPU's context.
const PICTURE: Duration = Duration::from_millis(16);
/// Interval at which the clock is read.
const LOOK: Duration = Duration::from_micros(200);
/// Number of kernels of a frame that takes longer than its hand-over.
const LONG: usize = 24;
const OWN: &str = "on a thread of the renderer's";

pub(super) fn cases(profile: &Profile) -> Vec<Case> {
    let lags: &[usize] = profile.pick(&[1, 2, 3], &[2]);
    // Frames of about 250 µs and of about 10 µs.
    let sizes = profile.pick(vec![("", LONG), ("short/", 1)], vec![("", 1)]);
    let cases = sizes.into_iter().flat_map(|(prefix, kernels)| {
        lags.iter().map(move |&lag| {
            let plural = if lag == 1 { "" } else { "s" };
            let short = if prefix.is_empty() { "" } else { "short " };
            let what = format!("{short}frame of a writer in another process, {lag} frame{plural} of it in flight");
            let name = format!("processes/{prefix}{lag}");
            Case::new(name, what.clone(), move |bench, rows| run(bench, rows, lag, kernels, &what))
        })
    });
    cases.chain(step::cases(profile)).chain(alone::cases(profile)).chain(reconnect::cases(profile)).collect()
}

type Spec = BufferSpec<u32>;

fn run(bench: &Bench, rows: &mut Rows, lag: usize, kernels: usize, what: &str) -> Result<()> {
    let gpu = &bench.gpu;
    let (len, frames) = if gpu.is_cuda() { (4 << 20, bench.profile.pick(1000, 100)) } else { (64 << 10, 50) };
    rows.parameter("kernels", kernels);
    rows.parameter("bytes", 4 * len);
    rows.parameter("frames", frames);
    // A slot returns to another process only after a message: with `lag + 4` slots, the writer
    // waits for a slot in a quarter of its frames.
    let slots = lag + 8;
    rows.parameter("slots", slots);
    let info = LatestInfo {
        name: "processes",
        slots: Some(slots),
        writer_in_flight: lag,
        timeout: LIMIT,
        ..Default::default()
    };
    let spec = BufferSpec::new(len, BufferAccess::TRANSFER_READ);
    let place = Endpoint::new()?;
    let (mut other, remote) = WorkerProcess::start(gpu, &place, false)?;
    let mut theirs = remote.latest(&info, spec.clone())?;
    let scrambler = gpu.compute.cuda().map(|cuda| Scrambler::new(cuda.device())).transpose()?;
    let (mut writer, mut reader) = Exchange::latest(&gpu.compute, &info, spec)?;
    let samples = alternate(&bench.profile, bench.profile.rounds, 2, |way| {
        let took = if way == 0 {
            let (reader, other) = (&mut theirs, &mut other);
            newest_alongside(
                || Ok(reader.newest()?.map(|turn| turn.read_back(LIMIT)).transpose()?.is_some()),
                || other.ask(frames, kernels).and_then(|()| other.took()),
            )?
        } else {
            newest_alongside(
                || Ok(reader.newest()?.map(|turn| turn.read_back(LIMIT)).transpose()?.is_some()),
                || write(&mut writer, scrambler.as_ref(), frames, kernels),
            )?
        };
        Ok(took.as_secs_f64() * 1e6 / frames as f64)
    })?;
    writer.close(reader)?;
    theirs.close()?;
    other.end()?;
    let [theirs, ours] = &samples[..] else { bail!("two ways were measured") };
    let goal = (gpu.is_cuda() && lag > 1).then(|| Goal::times(1.02));
    let ours = if gpu.is_cuda() { Samples::rival(OWN, ours) } else { Samples::comparison(OWN, ours) };
    rows.lower("", what, "µs", theirs, &[ours], goal)
}

/// Takes the newest frame every [`PICTURE`] until `work` has ended on another thread.
fn newest_alongside<T: Send>(
    mut newest: impl FnMut() -> Result<bool>,
    work: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    let mut next = Instant::now();
    run_alongside(
        || {
            // Polls often, so that the end of the work is noticed soon.
            if Instant::now() >= next {
                newest()?;
                next += PICTURE;
            }
            thread::sleep(LOOK);
            Ok(())
        },
        work,
    )
}

/// Repeats `step` until `work` has ended on another thread. Returns the result of `work`.
fn run_alongside<T: Send>(mut step: impl FnMut() -> Result<()>, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let working = scope.spawn(|| {
            let result = work();
            ended.store(true, Ordering::Release);
            result
        });
        while !ended.load(Ordering::Acquire) {
            step()?;
        }
        working.join().map_err(|_| anyhow!("the concurrent thread panicked"))?
    })
}

fn write(
    writer: &mut LatestWriter<Spec>,
    scrambler: Option<&Scrambler>,
    frames: usize,
    kernels: usize,
) -> Result<Duration> {
    let begun = Instant::now();
    for _ in 0..frames {
        let mut turn = writer.begin()?;
        let number = turn.frame();
        launch(turn.work(), scrambler, number, kernels)?;
        turn.publish()?;
    }
    Ok(begun.elapsed())
}

/// Writes a frame `kernels` times.
fn launch(work: Work<'_, Spec>, scrambler: Option<&Scrambler>, number: u64, kernels: usize) -> Result<()> {
    match (work, scrambler) {
        (Work::Cuda(work), Some(scrambler)) => {
            let (address, words) = (work.resources.as_raw(), work.resources.len());
            // SAFETY: the slot belongs to this turn, which is handed over on the same stream.
            unsafe { scrambler.launch(work.stream, address, words, number, kernels) }?;
        }
        (Work::Host(host), _) => host.run(move |words| words.fill(number as u32))?,
        _ => bail!("no bench of this backend"),
    }
    Ok(())
}
