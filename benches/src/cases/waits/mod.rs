//! Host waits for a point: the time between the end of the work and the return of the wait.
//!
//! The work ends by writing a word that a thread polls. A sample is the time from when that thread
//! saw the word to when the waiting thread continued. The time until a write becomes visible (about
//! a microsecond) is excluded for all ways alike.
#![allow(unsafe_code)] // Vulkan and driver calls.

mod waiters;
mod work;

use std::sync::atomic::AtomicU32;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bridge::ash::vk;
use bridge::cuda_import::cudarc::driver::sys;
use bridge::{BufferAccess, BufferSpec, Exchange, ExchangeInfo, Work};

use super::{Bench, Case, Rows};
use crate::gpu::Gpu;
use crate::harness::LIMIT;
use crate::harness::observer::{Observer, Watch, word_at};
use crate::harness::rounds::alternate;
use crate::harness::stats::PERCENTILE;
use crate::options::Profile;
use crate::raw::commands::submit;
use crate::raw::cuda::{self, Event, Module, Pinned, Stream};
use crate::raw::fence::Fence;
use crate::raw::shared::Exports;
use crate::raw::timeline::Timeline;
use crate::report::{Goal, Samples};
use waiters::{Wait, all_waited, waited};
use work::{Fills, Spin};

/// The approximate durations of the work that is waited for. Spinning for all of it would be fast,
/// but wasteful.
const WORK: [Duration; 4] =
    [Duration::from_micros(50), Duration::from_millis(1), Duration::from_millis(5), Duration::from_millis(20)];
/// Number of threads that wait for one point.
const WAITERS: usize = 4;

pub(super) fn cases(profile: &Profile) -> Vec<Case> {
    let of = |signaler: &'static str, work: Duration, waiters: usize| {
        let micros = work.as_micros();
        let (kind, many) = if waiters == 1 { ("wait", "") } else { ("waiters", ", several threads") };
        let what = format!("host wait for a point that {signaler} signals after {micros} µs{many}");
        let name = format!("{kind}/{}/{micros}us", signaler.to_lowercase());
        Case::new(name, what.clone(), move |bench, rows| {
            rows.parameter("signaller", signaler);
            rows.parameter("work_us", micros as u64);
            rows.parameter("waiters", waiters);
            let samples = match signaler {
                "CUDA" => from_cuda(bench, work, waiters)?,
                _ => from_vulkan(bench, work, waiters)?,
            };
            report(rows, &what, &samples)
        })
    };
    let short: &[Duration] = profile.pick(&WORK, &WORK[..3]);
    let long: &[Duration] = profile.pick(&WORK[2..], &WORK[2..3]);
    let sides = ["CUDA", "Vulkan"];
    let one = sides.into_iter().flat_map(|side| short.iter().map(move |work| of(side, *work, 1)));
    let many = sides.into_iter().flat_map(|side| long.iter().map(move |work| of(side, *work, WAITERS)));
    one.chain(many).collect()
}

/// Returns the number of rounds. Each wait is one sample; there are enough for a 99th percentile.
fn rounds(profile: &Profile) -> usize {
    profile.pick(PERCENTILE, 5)
}

/// The samples of the bridge, which come first, and of the ways by hand.
struct Waits {
    names: &'static [&'static str],
    samples: Vec<Vec<Wait>>,
}

fn report(rows: &mut Rows, what: &str, waits: &Waits) -> Result<()> {
    let late = |wait: &Wait| Some(wait.late);
    let cpu = |wait: &Wait| wait.cpu;
    let figures = |of: &dyn Fn(&Wait) -> Option<f64>| -> Vec<Vec<f64>> {
        waits.samples.iter().map(|samples| samples.iter().filter_map(of).collect()).collect()
    };
    let rows_of = |rows: &mut Rows, part: &str, what: String, figures: &[Vec<f64>], goal| {
        let (ours, others) = figures.split_first().context("no way was measured")?;
        let others: Vec<_> =
            waits.names.iter().zip(others).map(|(name, samples)| Samples::rival(name, samples)).collect();
        if ours.is_empty() { Ok(()) } else { rows.lower(part, what, "µs", ours, &others, goal) }
    };
    rows_of(rows, "", what.to_owned(), &figures(&late), Some(Goal::times(1.5)))?;
    rows_of(rows, "cpu", format!("{what}: processor time of the waiters"), &figures(&cpu), None)
}

fn exchange(gpu: &Gpu) -> Result<Exchange<BufferSpec<u32>>> {
    let info = ExchangeInfo { name: "waits", slots: 2, timeout: LIMIT, ..Default::default() };
    Ok(Exchange::new(&gpu.compute, &info, BufferSpec::new(1024, BufferAccess::TRANSFER_READ))?)
}

/// The number of ways by hand, from the start of the lists, that several threads can use at once.
const SHAREABLE: usize = 2;

/// The ways by hand to wait for a point that CUDA signals.
const AFTER_CUDA: [&str; 5] = [
    "vkGetSemaphoreCounterValue, without pause",
    "vkWaitSemaphores",
    "cuStreamSynchronize",
    "cuEventSynchronize",
    "fence behind a submission that waits",
];

fn from_cuda(bench: &Bench, work: Duration, waiters: usize) -> Result<Waits> {
    let gpu = &bench.gpu;
    let compute = gpu.cuda()?;
    let module = Module::load(compute, Module::BENCH)?;
    let pinned = Pinned::new(compute, 4)?;
    let spin = Spin { kernel: module.kernel(c"spin_then_tell")?, word: pinned.on_device()?, work };
    let stream = Stream::new(compute)?;
    let timeline = Timeline::new(gpu, &Exports::new(&gpu.device))?;
    let event = Event::plain(compute.device().context())?;
    let fence = Fence::new(&gpu.device)?;
    let mut exchange = exchange(gpu)?;
    // SAFETY: pinned memory, which lives until the end of this function; only the device writes it.
    let word: &AtomicU32 = unsafe { word_at(pinned.as_ptr()) };
    let observer = Observer::new(word);
    let names = &AFTER_CUDA[..if waiters == 1 { AFTER_CUDA.len() } else { SHAREABLE }];
    let samples = std::thread::scope(|scope| {
        let watch = observer.watch(scope);
        alternate(&bench.profile, rounds(&bench.profile), 1 + names.len(), |way| {
            let value = watch.expect_next();
            let Some(way) = way.checked_sub(1) else {
                return ours_after_cuda(&mut exchange, &spin, value, waiters, &watch);
            };
            let raw = stream.as_raw();
            // SAFETY: the word outlives the stream's work, for which every sample waits.
            unsafe { spin.launch(raw, value) }?;
            let (point, counter) = (u64::from(value), timeline.counter());
            timeline.signal_on(raw, point)?;
            match way {
                0 => all_waited(waiters, &watch, || counter.spin(point)),
                1 => all_waited(waiters, &watch, || counter.block(point)),
                // SAFETY: a live stream of the bound context.
                2 => waited(&watch, || cuda::check("cuStreamSynchronize", unsafe { sys::cuStreamSynchronize(raw) })),
                3 => {
                    event.record(raw)?;
                    waited(&watch, || event.synchronize())
                }
                _ => waited(&watch, || {
                    let wait = timeline.info(point, vk::PipelineStageFlags2::ALL_COMMANDS);
                    // SAFETY: the point's signal is enqueued, and the fence is not in use.
                    unsafe { submit(&gpu.device, gpu.device.queue(), Some(wait), &[], None, fence.as_raw()) }?;
                    fence.block()
                }),
            }
        })
    });
    stream.finish()?;
    Ok(Waits { names, samples: samples? })
}

/// Computes through an exchange, and waits for the result.
fn ours_after_cuda(
    exchange: &mut Exchange<BufferSpec<u32>>,
    spin: &Spin,
    value: u32,
    waiters: usize,
    watch: &Watch<'_, '_>,
) -> Result<Wait> {
    let mut turn = exchange.begin()?;
    let Work::Cuda(work) = turn.work() else { bail!("an exchange without CUDA") };
    // SAFETY: the word outlives the exchange.
    unsafe { spin.launch(work.stream.cu_stream(), value) }?;
    let turn = turn.finish()?;
    let point = turn.computed();
    let wait = all_waited(waiters, watch, || Ok(point.wait(LIMIT)?));
    turn.skip();
    wait
}

/// The ways by hand to wait for a point that a queue signals; the last one needs CUDA.
const AFTER_VULKAN: [&str; 5] = [
    "vkGetSemaphoreCounterValue, without pause",
    "vkWaitSemaphores",
    "vkWaitForFences",
    "vkGetFenceStatus, without pause",
    "cuStreamSynchronize behind a CUDA wait",
];

fn from_vulkan(bench: &Bench, work: Duration, waiters: usize) -> Result<Waits> {
    let gpu = &bench.gpu;
    let fills = Fills::new(gpu, work)?;
    let timeline = Timeline::new(gpu, &Exports::new(&gpu.device))?;
    let fence = Fence::new(&gpu.device)?;
    let stream = gpu.compute.cuda().map(Stream::new).transpose()?;
    let names = &AFTER_VULKAN[..match (waiters, &stream) {
        (1, Some(_)) => AFTER_VULKAN.len(),
        (1, None) => AFTER_VULKAN.len() - 1,
        _ => SHAREABLE,
    }];
    let mut exchange = exchange(gpu)?;
    // SAFETY: mapped memory of `fills`, which lives until the end of this function; only the device
    // writes it.
    let word = unsafe { word_at(fills.word()?) };
    let observer = Observer::new(word);
    let samples = std::thread::scope(|scope| {
        let watch = observer.watch(scope);
        alternate(&bench.profile, rounds(&bench.profile), 1 + names.len(), |way| {
            let value = watch.expect_next();
            let Some(way) = way.checked_sub(1) else {
                return ours_after_vulkan(&mut exchange, &fills, value, waiters, &watch);
            };
            let commands = fills.record(value, |_| (), |_| ())?;
            let (point, counter) = (u64::from(value), timeline.counter());
            let signal = Some(timeline.info(point, vk::PipelineStageFlags2::ALL_COMMANDS));
            let with_fence = if way == 2 || way == 3 { fence.as_raw() } else { vk::Fence::null() };
            // SAFETY: recorded for this queue; the values increase; every sample waits for its
            // submission.
            unsafe { submit(&gpu.device, gpu.device.queue(), None, &[commands], signal, with_fence) }?;
            let wait = match (way, &stream) {
                (0, _) => all_waited(waiters, &watch, || counter.spin(point)),
                (1, _) => all_waited(waiters, &watch, || counter.block(point)),
                (2, _) => waited(&watch, || fence.block()),
                (3, _) => waited(&watch, || fence.spin()),
                (_, Some(stream)) => waited(&watch, || {
                    timeline.wait_on(stream.as_raw(), point)?;
                    // SAFETY: a live stream of the bound context.
                    let code = unsafe { sys::cuStreamSynchronize(stream.as_raw()) };
                    cuda::check("cuStreamSynchronize", code)
                }),
                (_, None) => bail!("a way that needs CUDA"),
            };
            // A fence may signal before the semaphore, and the next sample records the commands
            // again.
            timeline.spin(point)?;
            wait
        })
    });
    Ok(Waits { names, samples: samples? })
}

/// Hands over through an exchange without computing, fills, and waits for the fills.
fn ours_after_vulkan(
    exchange: &mut Exchange<BufferSpec<u32>>,
    fills: &Fills,
    value: u32,
    waiters: usize,
    watch: &Watch<'_, '_>,
) -> Result<Wait> {
    let turn = exchange.begin()?.finish()?;
    // SAFETY: recording, for the device's own queue; submitted with this turn.
    let before = |commands| unsafe { turn.record_acquire(commands) };
    // SAFETY: as above.
    let after = |commands| unsafe { turn.record_release(commands) };
    let commands = fills.record(value, before, after)?;
    // SAFETY: recorded with the turn's barriers; every sample waits for its submission.
    let point = unsafe { turn.submit(&[commands]) }?;
    all_waited(waiters, watch, || Ok(point.wait(LIMIT)?))
}
