//! Measures the cost of a frame with one shared buffer in wgpu, compared with the same frame with
//! the bridge on raw Vulkan, and with the same frames without sharing, in the same run.
//!
//! `cargo run --release --example wgpu_cost`. In each frame, the compute side fills a buffer, and
//! the queue copies it into another one. For each way it prints
//!
//! - **frame**: the wall time per frame with two frames in flight. It includes all GPU work of a
//!   frame, and the switches between CUDA and Vulkan.
//! - **submitting**: the calling thread's time per frame in the calls that record and submit.
//! - **GPU**: the time that one more frame adds on the queue between two timestamps: the time
//!   around two frames minus the time around one. Each timestamp is at the bottom of the pipe, in a
//!   separate submission, directly before and directly after the frames. The time of those
//!   submissions is in both measurements, and so cancels out, however a way submits. The compute
//!   side completes the frames before the first timestamp, and the queue is kept busy with copies
//!   until everything is submitted. The result is therefore the time of the frame's barriers, its
//!   copies, and the queue's overhead per submission; it includes neither CPU time nor the wait for
//!   the compute side.
//!
//! The frame on raw Vulkan is also measured with the semaphores of wgpu's submissions, because wgpu's
//! own cost is not the same with and without sharing: on raw Vulkan, the frame's signal to the
//! compute side also tells the host that the frame has ended, in place of the fence of a frame
//! without sharing. In wgpu it is an additional signal.
//!
//! The last line is the same as JSON, which `--out` also writes to a file. With software Vulkan the
//! program runs, but the figures are meaningless.
#![allow(unsafe_code)] // Raw Vulkan, to compare with, kernel launches, and slots.

mod on_ash;
mod on_wgpu;
mod relay;
mod report;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ash::vk;
use bridge_wgpu::bridge::{BufferSpec, Compute, DeviceSelector, Kernel, KernelModule, OpenInfo, Uuid};
use bridge_wgpu::{Backend, Bridge, ExchangeInfo, LaunchConfig, Work, wgpu};
use on_ash::OnAsh;
use on_wgpu::OnWgpu;
use report::{Report, Row};
use wgpu::hal::api::Vulkan;

const LIMIT: Duration = Duration::from_secs(20);
const IN_FLIGHT: usize = 2;
/// The maximum number of copies that keep a queue busy while a frame is submitted.
const MOST_COPIES: u32 = 256;

/// A way of making the same frame.
trait Way {
    /// Makes the compute side fill the frame with `base`, `base + 1`, ...; waits while
    /// [`IN_FLIGHT`] frames are unfinished.
    fn compute(&mut self, base: u32) -> Result<()>;

    /// Waits until the compute side has filled all frames that are about to be submitted.
    fn computed(&self) -> Result<()>;

    /// Records and submits the oldest computed frame.
    fn submit(&mut self) -> Result<()>;

    /// Waits for all frames.
    fn finish(&mut self) -> Result<()>;

    /// Submits copies that keep the queue busy, followed by the first timestamp.
    fn open(&mut self, copies: u32) -> Result<()>;

    /// Submits only the second timestamp.
    fn close(&mut self) -> Result<()>;

    /// Waits, and returns the time of the copies and of the frames, in microseconds.
    fn times(&mut self) -> Result<[f64; 2]>;

    /// Returns the contents of the last frame, if anything is shared.
    fn target(&mut self) -> Result<Option<Vec<u32>>>;
}

/// The command-line options.
struct Args {
    frames: u32,
    samples: u32,
    rounds: u32,
    mib: Vec<usize>,
    backend: Backend,
    out: Option<PathBuf>,
}

const USAGE: &str = "\
    --frames N      frames of a run (500)\n  \
    --samples N     frames of which the GPU's time is taken, of each run (20)\n  \
    --rounds N      runs of each way, in turns, behind one that warms up (5)\n  \
    --mib N,N,...   sizes of the buffer (4,64)\n  \
    --backend NAME  auto, cuda or host (auto)\n  \
    --out DIR       where wgpu_cost.json is written to (nowhere)";

impl Args {
    fn parse() -> Result<Self> {
        let (mib, backend) = (vec![4, 64], Backend::Auto);
        let mut args = Self { frames: 500, samples: 20, rounds: 5, mib, backend, out: None };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} takes a value"));
            match word.as_str() {
                "--frames" => args.frames = value()?.parse()?,
                "--samples" => args.samples = value()?.parse()?,
                "--rounds" => args.rounds = value()?.parse()?,
                "--mib" => args.mib = value()?.split(',').map(str::parse).collect::<Result<_, _>>()?,
                "--backend" => args.backend = value()?.parse()?,
                "--out" => args.out = Some(value()?.into()),
                "--help" => {
                    println!("options, with their defaults:\n  {USAGE}");
                    std::process::exit(0);
                }
                _ => bail!("what is {word}? There are\n  {USAGE}"),
            }
        }
        let fits = |mib: &usize| (1..=1024).contains(mib);
        ensure!(args.frames > 0 && args.rounds > 0 && args.samples > 0, "at least one of each");
        ensure!(!args.mib.is_empty() && args.mib.iter().all(fits), "--mib is 1 to 1024");
        Ok(args)
    }
}

fn main() -> Result<()> {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("error")).init();
    let args = Args::parse()?;
    let adapter = adapter()?;
    let timestamps = wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::TIMESTAMP_QUERY_INSIDE_ENCODERS;
    let largest = args.mib.iter().max().map_or(0, |mib| (*mib as u64) << 20);
    let required_limits = wgpu::Limits { max_buffer_size: largest.max(256 << 20), ..Default::default() };
    let descriptor = wgpu::DeviceDescriptor { required_features: timestamps, required_limits, ..Default::default() };
    let gpu = Bridge::request_device(&adapter, &descriptor, args.backend)?;
    let open = OpenInfo { device: DeviceSelector::Uuid(uuid(&adapter)?), ..Default::default() };
    let compute = Compute::open(&open, gpu.backend())?;
    let mut report = Report::new(&adapter.get_info(), gpu.backend());
    for mib in &args.mib {
        report.add(*mib, measure(&args, &gpu, &compute, mib << 18)?);
    }
    report.print();
    if let Some(folder) = &args.out {
        std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        let path = folder.join("wgpu_cost.json");
        std::fs::write(&path, report.json()).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(())
}

fn adapter() -> Result<wgpu::Adapter> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::VULKAN;
    // Without validation, which would distort the measurements.
    descriptor.flags = wgpu::InstanceFlags::empty();
    let options =
        wgpu::RequestAdapterOptions { power_preference: wgpu::PowerPreference::HighPerformance, ..Default::default() };
    Ok(pollster::block_on(wgpu::Instance::new(descriptor).request_adapter(&options))?)
}

/// Returns the UUID of the GPU that wgpu has chosen.
fn uuid(adapter: &wgpu::Adapter) -> Result<Uuid> {
    // SAFETY: the guard is only read.
    let hal = unsafe { adapter.as_hal::<Vulkan>() }.context("a Vulkan adapter")?;
    let mut id = vk::PhysicalDeviceIDProperties::default();
    let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut id);
    let instance = hal.shared_instance().raw_instance();
    // SAFETY: the physical device belongs to the instance, which has Vulkan 1.1 or newer.
    unsafe { instance.get_physical_device_properties2(hal.raw_physical_device(), &mut properties) };
    Ok(Uuid::from_bytes(id.device_uuid))
}

/// Measures all ways alternately, so that changes of the clock rate affect all of them.
fn measure(args: &Args, gpu: &Bridge, compute: &Compute, len: usize) -> Result<Vec<Row>> {
    let wgpus = kernel(gpu.backend(), |ptx| Ok(gpu.load("probe", ptx)?))?;
    let own = kernel(compute.backend(), |ptx| Ok(compute.load("probe", ptx)?))?;
    let mut ways: Vec<(Row, Box<dyn Way + '_>)> = vec![
        (Row::new("ash"), Box::new(OnAsh::alone(compute, len)?)),
        (Row::new("ash, shared"), Box::new(OnAsh::shared(compute, len, own.clone())?)),
        (Row::new("ash, shared, wgpu's semaphores"), Box::new(OnAsh::relayed(compute, len, own)?)),
        (Row::new("wgpu"), Box::new(OnWgpu::alone(gpu, len)?)),
        (Row::new("wgpu, SlotBuffer"), Box::new(OnWgpu::slots(gpu, len, wgpus.clone())?)),
        (Row::new("wgpu, SharedBuffer"), Box::new(OnWgpu::stays(gpu, len, wgpus)?)),
    ];
    // Software drivers work in the submitting calls, which no copies can hide.
    let most = if gpu.device().adapter_info().device_type == wgpu::DeviceType::Cpu { 1 } else { MOST_COPIES };
    for round in 0..=args.rounds {
        for (row, way) in &mut ways {
            let (frame, submitting) = run(&mut **way, args.frames).with_context(|| row.name)?;
            let samples = if round == 0 { args.samples.min(3) } else { args.samples };
            let times = (0..samples).map(|_| gpu_time(&mut **way, row, most)).collect::<Result<Vec<_>>>();
            let times = times.with_context(|| row.name)?;
            if round > 0 {
                row.add(frame, submitting, times);
            }
        }
    }
    Ok(ways.into_iter().map(|(row, _)| row).collect())
}

/// Returns the kernel that fills a buffer; the CPU backend needs none.
fn kernel(backend: Backend, load: impl Fn(&str) -> Result<KernelModule>) -> Result<Option<Kernel>> {
    if backend == Backend::Host {
        return Ok(None);
    }
    Ok(Some(load(include_str!("../../../../shaders/probe.ptx"))?.kernel("fill_after")?))
}

/// Makes the compute side write `base`, `base + 1`, and so on.
fn fill(work: Work<'_, BufferSpec<u32>>, kernel: Option<&Kernel>, base: u32) -> Result<()> {
    match (work, kernel) {
        (Work::Host(host), _) => host.run(move |words| {
            words.iter_mut().zip(0u32..).for_each(|(word, index)| *word = base.wrapping_add(index));
        })?,
        (work, Some(kernel)) => {
            let work = work.kernels()?;
            let words = work.resources;
            let len = u32::try_from(words.len())?;
            let config = LaunchConfig::for_elements(u64::from(len), 256);
            // SAFETY: the kernel's four parameters, of these types, and it writes `len` elements.
            unsafe { work.launch(kernel, &config, (words, len, base, 0u64)) }?;
        }
        (_, None) => bail!("the kernel was not loaded"),
    }
    Ok(())
}

/// Returns the time per frame and the time of submitting it, in microseconds. Checks the last
/// frame.
fn run(way: &mut dyn Way, frames: u32) -> Result<(f64, f64)> {
    let (start, mut submitting) = (Instant::now(), Duration::ZERO);
    for frame in 0..frames {
        way.compute(frame)?;
        let begun = Instant::now();
        way.submit()?;
        submitting += begun.elapsed();
    }
    way.finish()?;
    let each = |time: Duration| time.as_secs_f64() * 1e6 / f64::from(frames);
    let times = (each(start.elapsed()), each(submitting));
    if let Some(words) = way.target()? {
        let wrong = words.iter().zip(frames - 1..).position(|(word, expected)| *word != expected);
        ensure!(wrong.is_none(), "word {wrong:?} of the last frame is not what the compute side wrote");
    }
    Ok(times)
}

/// Returns the GPU time of a frame in microseconds: that of the second of two frames.
fn gpu_time(way: &mut dyn Way, row: &mut Row, most: u32) -> Result<f64> {
    let one = between(way, row, most, 1)?;
    Ok(between(way, row, most, 2)? - one)
}

/// Returns the GPU time between two timestamps around frames, in microseconds.
fn between(way: &mut dyn Way, row: &mut Row, most: u32, frames: usize) -> Result<f64> {
    loop {
        for _ in 0..frames {
            way.compute(0)?;
        }
        way.computed()?;
        let start = Instant::now();
        way.open(row.copies)?;
        for _ in 0..frames {
            way.submit()?;
        }
        way.close()?;
        let submitting = start.elapsed().as_secs_f64() * 1e6;
        let [busy, time] = way.times()?;
        // Otherwise the queue may have waited for the CPU in between.
        if busy >= submitting {
            return Ok(time);
        }
        if row.copies >= most {
            row.uncovered += 1;
            return Ok(time);
        }
        row.copies *= 2;
    }
}

fn info() -> ExchangeInfo<'static> {
    ExchangeInfo { name: "cost", frames_in_flight: Some(IN_FLIGHT), timeout: LIMIT, ..Default::default() }
}
