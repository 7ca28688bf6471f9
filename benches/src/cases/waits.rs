//! The host waits for a point: how long after the work has ended it knows.
//!
//! The work ends by writing a word that a thread watches; a sample is the time from when that thread saw the word to when
//! the waiting thread went on. What a write takes to become visible (about a microsecond) is left out for all ways alike.
#![allow(unsafe_code)] // Vulkan and driver calls.

use std::ffi::c_void;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bridge::ash::vk;
use bridge::{BufferAccess, BufferSpec, Exchange, ExchangeInfo, ExportDevice, Work};
use vk_local::{LocalBuffer, MemoryLocation};

use super::{Bench, Case, Rows};
use crate::gpu::Gpu;
use crate::harness::LIMIT;
use crate::harness::observer::{Observer, Watch, word_at};
use crate::harness::rounds::alternate;
use crate::options::Profile;
use crate::raw::commands::{Commands, submit};
use crate::raw::cuda::{self, Event, Kernel, Module, Pinned, Stream};
use crate::raw::fence::Fence;
use crate::raw::shared::Exports;
use crate::raw::timeline::Timeline;
use crate::report::{Goal, Samples};

/// How long the work takes that is waited for, roughly.
const WORK: [Duration; 2] = [Duration::from_micros(50), Duration::from_millis(1)];

pub(super) fn cases(_: &Profile) -> Vec<Case> {
    let of = |signaller: &'static str, work: Duration| {
        let micros = work.as_micros();
        let what = format!("host wait for a point that {signaller} signals after {micros} µs");
        let name = format!("wait/{}/{micros}us", signaller.to_lowercase());
        Case::new(name, what.clone(), move |bench, rows| {
            rows.parameter("signaller", signaller);
            rows.parameter("work_us", micros as u64);
            match signaller {
                "CUDA" => from_cuda(bench, rows, work, &what),
                _ => from_vulkan(bench, rows, work, &what),
            }
        })
    };
    ["CUDA", "Vulkan"].into_iter().flat_map(|signaller| WORK.map(|work| of(signaller, work))).collect()
}

/// Each wait is one sample.
fn rounds(profile: &Profile) -> usize {
    profile.pick(60, 5)
}

/// Rows from the samples of the bridge, which is the first, and the ways by hand.
fn report(rows: &mut Rows, what: &str, names: &[&str], samples: &[Vec<f64>]) -> Result<()> {
    let (ours, others) = samples.split_first().context("no way was measured")?;
    let others: Vec<_> = names.iter().zip(others).map(|(name, samples)| Samples::rival(name, samples)).collect();
    rows.lower("", what, "µs", ours, &others, Some(Goal::times(1.5)))
}

fn exchange(gpu: &Gpu) -> Result<Exchange<BufferSpec<u32>>> {
    let info = ExchangeInfo { name: "waits", slots: 2, timeout: LIMIT, ..Default::default() };
    Ok(Exchange::new(&gpu.compute, &info, BufferSpec::new(1024, BufferAccess::TRANSFER_READ))?)
}

/// The ways by hand for a point that CUDA signals.
const AFTER_CUDA: [&str; 5] = [
    "vkGetSemaphoreCounterValue, without pause",
    "vkWaitSemaphores",
    "cuStreamSynchronize",
    "cuEventSynchronize",
    "fence behind a submission that waits",
];

fn from_cuda(bench: &Bench, rows: &mut Rows, work: Duration, what: &str) -> Result<()> {
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
    let samples = std::thread::scope(|scope| {
        let watch = observer.watch(scope);
        alternate(&bench.profile, rounds(&bench.profile), 1 + AFTER_CUDA.len(), |way| {
            let value = watch.expect_next();
            let Some(way) = way.checked_sub(1) else { return ours_after_cuda(&mut exchange, &spin, value, &watch) };
            let raw = stream.as_raw();
            // SAFETY: the word outlives the stream's work, which every sample waits for.
            unsafe { spin.launch(raw, value) }?;
            let point = u64::from(value);
            timeline.signal_on(raw, point)?;
            match way {
                0 => timeline.spin(point)?,
                1 => timeline.block(point)?,
                // SAFETY: a live stream of the bound context.
                2 => cuda::check("cuStreamSynchronize", unsafe {
                    bridge::cuda_import::cudarc::driver::sys::cuStreamSynchronize(raw)
                })?,
                3 => {
                    event.record(raw)?;
                    event.synchronize()?;
                }
                _ => {
                    let wait = timeline.info(point, vk::PipelineStageFlags2::ALL_COMMANDS);
                    // SAFETY: the point's signal is enqueued, the fence is not in use.
                    unsafe { submit(&gpu.device, gpu.device.queue(), Some(wait), &[], None, fence.as_raw()) }?;
                    fence.block()?;
                }
            }
            watch.since()
        })
    });
    stream.finish()?;
    report(rows, what, &AFTER_CUDA, &samples?)
}

/// Through an exchange: compute, and wait for that.
fn ours_after_cuda(
    exchange: &mut Exchange<BufferSpec<u32>>,
    spin: &Spin,
    value: u32,
    watch: &Watch<'_, '_>,
) -> Result<f64> {
    let mut turn = exchange.begin()?;
    let Work::Cuda(work) = turn.work() else { bail!("an exchange without CUDA") };
    // SAFETY: the word outlives the exchange.
    unsafe { spin.launch(work.stream.cu_stream(), value) }?;
    let turn = turn.finish()?;
    turn.computed().wait(LIMIT)?;
    let late = watch.since();
    turn.skip();
    late
}

/// The kernel that takes its time.
struct Spin {
    kernel: Kernel,
    word: u64,
    work: Duration,
}

impl Spin {
    /// # Safety
    /// The word lives until the stream's work is done.
    unsafe fn launch(&self, stream: bridge::cuda_import::cudarc::driver::sys::CUstream, mut value: u32) -> Result<()> {
        let mut word = self.word;
        let mut nanoseconds = self.work.as_nanos() as u64;
        let arguments: [*mut c_void; 3] =
            [(&raw mut word).cast(), (&raw mut value).cast(), (&raw mut nanoseconds).cast()];
        // SAFETY: the kernel's three parameters, of these types; it writes one word.
        unsafe { self.kernel.launch(stream, 1, 1, arguments) }
    }
}

/// The ways by hand for a point that a queue signals; the last needs CUDA.
const AFTER_VULKAN: [&str; 5] = [
    "vkGetSemaphoreCounterValue, without pause",
    "vkWaitSemaphores",
    "vkWaitForFences",
    "vkGetFenceStatus, without pause",
    "cuStreamSynchronize behind a CUDA wait",
];

fn from_vulkan(bench: &Bench, rows: &mut Rows, work: Duration, what: &str) -> Result<()> {
    let gpu = &bench.gpu;
    let fills = Fills::new(gpu, work)?;
    let timeline = Timeline::new(gpu, &Exports::new(&gpu.device))?;
    let fence = Fence::new(&gpu.device)?;
    let stream = gpu.compute.cuda().map(Stream::new).transpose()?;
    let ways = if stream.is_some() { AFTER_VULKAN.len() } else { AFTER_VULKAN.len() - 1 };
    let mut exchange = exchange(gpu)?;
    // SAFETY: mapped memory of `fills`, which lives until the end of this function; only the device writes it.
    let word = unsafe { word_at(fills.word()?) };
    let observer = Observer::new(word);
    let samples = std::thread::scope(|scope| {
        let watch = observer.watch(scope);
        alternate(&bench.profile, rounds(&bench.profile), 1 + ways, |way| {
            let value = watch.expect_next();
            let Some(way) = way.checked_sub(1) else { return ours_after_vulkan(&mut exchange, &fills, value, &watch) };
            let commands = fills.record(value, |_| (), |_| ())?;
            let point = u64::from(value);
            let signal = Some(timeline.info(point, vk::PipelineStageFlags2::ALL_COMMANDS));
            let with_fence = if way == 2 || way == 3 { fence.as_raw() } else { vk::Fence::null() };
            // SAFETY: recorded for this queue; the values rise; every sample waits for its submission.
            unsafe { submit(&gpu.device, gpu.device.queue(), None, &[commands], signal, with_fence) }?;
            match (way, &stream) {
                (0, _) => timeline.spin(point)?,
                (1, _) => timeline.block(point)?,
                (2, _) => fence.block()?,
                (3, _) => fence.spin()?,
                (_, Some(stream)) => {
                    timeline.wait_on(stream.as_raw(), point)?;
                    // SAFETY: a live stream of the bound context.
                    cuda::check("cuStreamSynchronize", unsafe {
                        bridge::cuda_import::cudarc::driver::sys::cuStreamSynchronize(stream.as_raw())
                    })?;
                }
                (_, None) => bail!("a way that needs CUDA"),
            }
            let late = watch.since();
            // A fence may be seen before the semaphore, and the next sample records the commands anew.
            timeline.spin(point)?;
            late
        })
    });
    report(rows, what, &AFTER_VULKAN[..ways], &samples?)
}

/// Through an exchange: hand over without computing, fill, and wait for that.
fn ours_after_vulkan(
    exchange: &mut Exchange<BufferSpec<u32>>,
    fills: &Fills,
    value: u32,
    watch: &Watch<'_, '_>,
) -> Result<f64> {
    let turn = exchange.begin()?.finish()?;
    // SAFETY: recording, for the device's own queue; submitted with this turn.
    let before = |commands| unsafe { turn.record_acquire(commands) };
    // SAFETY: as above.
    let after = |commands| unsafe { turn.record_release(commands) };
    let commands = fills.record(value, before, after)?;
    // SAFETY: recorded with the turn's barriers; every sample waits for its submission.
    let point = unsafe { turn.submit(&[commands]) }?;
    point.wait(LIMIT)?;
    watch.since()
}

/// Work for a queue that takes its time and ends by writing a word.
struct Fills {
    commands: Commands,
    scratch: LocalBuffer,
    word: LocalBuffer,
    repeats: u32,
    device: ExportDevice,
}

impl Fills {
    fn new(gpu: &Gpu, work: Duration) -> Result<Self> {
        /// Enough for a GPU's launch not to be all of it; little enough for a software device.
        const SCRATCH: u64 = 4 << 20;
        const TRIAL: u32 = 32;
        let device = &gpu.device;
        let usage = vk::BufferUsageFlags::TRANSFER_DST;
        let mut fills = Self {
            commands: Commands::new(device, device.queue(), 1)?,
            scratch: LocalBuffer::new(device, "scratch", SCRATCH, usage, MemoryLocation::GpuOnly)?,
            word: LocalBuffer::new(device, "word", 4, usage, MemoryLocation::GpuToCpu)?,
            repeats: TRIAL,
            device: device.clone(),
        };
        // SAFETY: just made; the GPU has not been told of it.
        unsafe { fills.word.bytes_mut() }.context("the word is not mapped")?.fill(0);
        let fence = Fence::new(device)?;
        let mut took = Duration::ZERO;
        for _ in 0..2 {
            // Written before it is watched: back to 0.
            let commands = fills.record(0, |_| (), |_| ())?;
            let start = std::time::Instant::now();
            // SAFETY: recorded for this queue, and waited for.
            unsafe { submit(device, device.queue(), None, &[commands], None, fence.as_raw()) }?;
            fence.spin()?;
            took = start.elapsed();
        }
        let one = took.as_secs_f64() / f64::from(TRIAL);
        fills.repeats = (work.as_secs_f64() / one).round().clamp(1.0, 4096.0) as u32;
        Ok(fills)
    }

    /// Where the word is. It is 0.
    fn word(&self) -> Result<*mut u8> {
        Ok(self.word.host_ptr().context("the word is not mapped")?.as_ptr())
    }

    /// Records the work, with more before and after it. The GPU is done with what was recorded last.
    fn record(
        &self,
        value: u32,
        before: impl FnOnce(vk::CommandBuffer),
        after: impl FnOnce(vk::CommandBuffer),
    ) -> Result<vk::CommandBuffer> {
        let raw = self.device.as_raw();
        let barrier = |commands, stage, access| {
            let barriers = [vk::MemoryBarrier2::default()
                .src_stage_mask(vk::PipelineStageFlags2::ALL_TRANSFER)
                .src_access_mask(vk::AccessFlags2::TRANSFER_WRITE)
                .dst_stage_mask(stage)
                .dst_access_mask(access)];
            let dependency = vk::DependencyInfo::default().memory_barriers(&barriers);
            // SAFETY: recording.
            unsafe { raw.cmd_pipeline_barrier2(commands, &dependency) };
        };
        let transfer = (vk::PipelineStageFlags2::ALL_TRANSFER, vk::AccessFlags2::TRANSFER_WRITE);
        let record = |commands| {
            before(commands);
            for _ in 0..self.repeats {
                // SAFETY: VUID-vkCmdFillBuffer-dstOffset-00024: inside the buffer, in multiples of four.
                unsafe { raw.cmd_fill_buffer(commands, self.scratch.as_raw(), 0, vk::WHOLE_SIZE, value) };
                barrier(commands, transfer.0, transfer.1);
            }
            // SAFETY: as above.
            unsafe { raw.cmd_fill_buffer(commands, self.word.as_raw(), 0, 4, value) };
            barrier(commands, vk::PipelineStageFlags2::HOST, vk::AccessFlags2::HOST_READ);
            after(commands);
        };
        // SAFETY: every sample waits for its submission before the next is recorded.
        unsafe { self.commands.record(0, vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT, record) }
    }
}
