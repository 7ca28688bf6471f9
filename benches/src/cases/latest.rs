//! Two sides at independent rates: the cost of publishing a frame and of taking the newest frame
//! compared with the same calls by hand, and how long the calls block the host.
#![allow(unsafe_code)] // Records and submits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use bridge::ash::vk;
use bridge::{BufferAccess, BufferSpec, Exchange, LatestInfo, LatestReader, LatestWriter, QueueKind, TimelinePoint};

use super::handover::{Words, write_word};
use super::{Bench, Case, Rows};
use crate::gpu::Gpu;
use crate::harness::clock::{thread_cpu_us, voluntary_switches};
use crate::harness::frames::{FrameLoop, MAX_SMALL_BATCH, compare};
use crate::harness::{LIMIT, spin_until};
use crate::options::Profile;
use crate::raw::commands::Commands;
use crate::raw::cuda::{Kernel, Module};
use crate::raw::ring::{Part, Recording, Ring};
use crate::report::{Better, Bounded, Goal, RAW, Samples};

/// Number of elements in a slot's buffer.
const LEN: usize = 16 << 10;

/// Frames of either side that may be in flight: more than the frames in a batch whose processor
/// time is measured, so that the batch contains no wait.
const IN_FLIGHT: usize = 33;
const SLOTS: usize = 2 * IN_FLIGHT + 2;

/// Interval of the paced writer: longer than the GPU takes to switch to Vulkan and back, so that
/// two frames in flight are enough.
const PACE: Duration = Duration::from_micros(400);
/// Interval of its reader.
const PICTURE: Duration = Duration::from_millis(16);
/// How many times the maximum is measured; the first frames do not count.
const BATCHES: usize = 4;
const WARM_UP: usize = 100;

pub(super) fn cases(profile: &Profile) -> Vec<Case> {
    let case = |name: &str, what: &'static str, run: fn(&Bench, &mut Rows, &str) -> Result<()>| {
        Case::new(format!("latest/{name}"), what, move |bench, rows| run(bench, rows, what))
    };
    let frames = profile.pick(25_000, 500);
    vec![
        case("publish", "publishing a frame of a latest exchange", publish),
        case("again", "the same frame again, submitted without commands", again),
        case("frame", "publishing a frame, and submitting the newest, recorded each time", frame),
        Case::new("latest/paced", "a writer at a pace of 400 µs, beside a reader", move |bench, rows| {
            paced(bench, rows, frames)
        }),
    ]
}

/// Measures a frame's costs against those by hand; `adds` is the processor time that the bridge may
/// add, in microseconds.
fn costs(bench: &Bench, rows: &mut Rows, what: &str, adds: f64, ours: &mut dyn FrameLoop, part: Part) -> Result<()> {
    let gpu = &bench.gpu;
    let recording = Recording::EachFrame(MAX_SMALL_BATCH);
    let mut raw = Ring::new(gpu, QueueKind::Graphics, SLOTS, 1, LEN as u64 * 4, recording)?.part(part);
    rows.parameter("slots", SLOTS);
    let costs = compare(&bench.profile, MAX_SMALL_BATCH, &mut [ours, &mut raw])?;
    let [ours, raw] = &costs[..] else { anyhow::bail!("two loops were measured") };
    let twin = gpu.is_cuda();
    let against =
        |samples| if twin { Samples::rival(RAW, samples) } else { Samples::comparison("on one thread", samples) };
    if !ours.cpu.is_empty() {
        let adds = Goal::adds(adds);
        rows.lower(
            "cpu",
            format!("{what}: processor time"),
            "µs",
            &ours.cpu,
            &[against(&raw.cpu)],
            twin.then_some(adds),
        )?;
    }
    let none = Goal { of: Bounded::Value, bound: 0.0, better: Better::Lower, strict: true };
    let allocated = format!("{what}: heap allocations");
    rows.lower("allocations", allocated, "", &ours.allocations, &[against(&raw.allocations)], Some(none))
}

fn publish(bench: &Bench, rows: &mut Rows, what: &str) -> Result<()> {
    let module = bench.gpu.compute.cuda().map(|cuda| Module::load(cuda, Module::BENCH)).transpose()?;
    let kernel = module.as_ref().map(|module| module.kernel(c"touch")).transpose()?;
    let (writer, _reader) = exchange(&bench.gpu)?;
    costs(bench, rows, what, 1.0, &mut Publish { writer, kernel, last: None }, Part::Compute)
}

fn again(bench: &Bench, rows: &mut Rows, what: &str) -> Result<()> {
    let (mut writer, mut reader) = exchange(&bench.gpu)?;
    writer.begin()?.publish()?.wait(LIMIT)?;
    // The first read performs the hand-over of the frame to Vulkan.
    reader.newest()?.context("a frame was published")?.read_back(LIMIT)?;
    costs(bench, rows, what, 1.0, &mut Again { reader, last: None }, Part::Submission)
}

fn frame(bench: &Bench, rows: &mut Rows, what: &str) -> Result<()> {
    let gpu = &bench.gpu;
    let module = gpu.compute.cuda().map(|cuda| Module::load(cuda, Module::BENCH)).transpose()?;
    let kernel = module.as_ref().map(|module| module.kernel(c"touch")).transpose()?;
    let (writer, reader) = exchange(gpu)?;
    let commands = Commands::new(&gpu.device, reader.queue(), MAX_SMALL_BATCH)?;
    let publish = Publish { writer, kernel, last: None };
    costs(
        bench,
        rows,
        what,
        2.0,
        &mut Both { reader: Again { reader, last: None }, publish, commands, batch: 0 },
        Part::Frame,
    )
}

fn exchange(gpu: &Gpu) -> Result<(LatestWriter<Words>, LatestReader<Words>)> {
    let info = LatestInfo {
        name: "latest",
        slots: Some(SLOTS),
        writer_in_flight: IN_FLIGHT,
        reader_in_flight: IN_FLIGHT,
        timeout: LIMIT,
        ..Default::default()
    };
    Ok(Exchange::latest(&gpu.compute, &info, BufferSpec::new(LEN, BufferAccess::TRANSFER_READ))?)
}

/// Measures whether either call of the writer blocks the host, and the longest processor time of a
/// call, over `frames` frames per sample.
fn paced(bench: &Bench, rows: &mut Rows, frames: usize) -> Result<()> {
    let gpu = &bench.gpu;
    let module = gpu.compute.cuda().map(|cuda| Module::load(cuda, Module::BENCH)).transpose()?;
    let kernel = module.as_ref().map(|module| module.kernel(c"touch")).transpose()?;
    let info = LatestInfo { timeout: LIMIT, ..Default::default() };
    let spec = BufferSpec::new(LEN, BufferAccess::TRANSFER_READ);
    let (mut writer, mut reader) = Exchange::latest(&gpu.compute, &info, spec)?;
    rows.parameter("frames", BATCHES * frames);
    let stop = AtomicBool::new(false);
    let longest = thread::scope(|scope| {
        let reading = scope.spawn(|| -> Result<()> {
            while !stop.load(Ordering::Relaxed) {
                if let Some(turn) = reader.newest()? {
                    turn.read_back(LIMIT)?;
                }
                thread::sleep(PICTURE);
            }
            Ok(())
        });
        let longest = longest_of(&mut writer, kernel, WARM_UP)
            .and_then(|_| (0..BATCHES).map(|_| longest_of(&mut writer, kernel, frames)).collect::<Result<Vec<_>>>());
        stop.store(true, Ordering::Relaxed);
        reading.join().map_err(|_| anyhow!("the reader panicked"))??;
        longest
    })?;
    writer.close(reader)?;
    let what = format!("of {} frames' begin and publish, a writer at a pace of 400 µs", BATCHES * frames);
    let most = |of: fn(&Longest) -> f64| longest.iter().map(of).fold(0.0, f64::max);
    // The longest interruption of a thread that makes no call, on the same processor at the same
    // time.
    rows.parameter("held_up_us", most(|longest| longest.gap).round());
    rows.parameter("longest_us", most(|longest| longest.wall).round());
    let goal = |bound| Goal { of: Bounded::Value, bound, better: Better::Lower, strict: false };
    // The maximum or the sum of all batches, for each of them: a median would hide it.
    let mut row = |name, what: String, unit, value: f64, bound: f64| {
        rows.lower(name, what, unit, &[value; BATCHES], &[], gpu.is_cuda().then(|| goal(bound)))
    };
    if thread_cpu_us().is_some() {
        row("longest", format!("the longest {what}: processor time"), "µs", most(|longest| longest.cpu), 50.0)?;
    }
    if voluntary_switches().is_some() {
        let blocks = longest.iter().map(|longest| longest.blocks).sum();
        row("blocks", format!("calls {what}, that gave up the processor"), "", blocks, 0.0)?;
    }
    Ok(())
}

/// The maxima over a number of frames, in µs, and how often a call blocked.
#[derive(Default)]
struct Longest {
    /// The longest call of `begin` or `publish`, including the time in which the system ran other
    /// threads.
    wall: f64,
    /// The longest processor time of such a call.
    cpu: f64,
    /// The number of calls that blocked: the thread gave up its processor. Preemption does not
    /// count.
    blocks: f64,
    /// The longest time between two readings of the clock in the loop that waits for the next
    /// frame.
    gap: f64,
}

impl Longest {
    /// Runs a call and takes its time.
    fn time<T>(&mut self, call: impl FnOnce() -> T) -> T {
        let (switches, cpu, start) = (voluntary_switches(), thread_cpu_us(), Instant::now());
        let result = call();
        self.wall = self.wall.max(start.elapsed().as_secs_f64() * 1e6);
        if let Some((start, end)) = cpu.zip(thread_cpu_us()) {
            self.cpu = self.cpu.max(end - start);
        }
        if voluntary_switches() != switches {
            self.blocks += 1.0;
        }
        result
    }
}

fn longest_of(writer: &mut LatestWriter<Words>, kernel: Option<Kernel>, frames: usize) -> Result<Longest> {
    let (mut longest, mut gap, mut due) = (Longest::default(), Duration::ZERO, Instant::now());
    for _ in 0..frames {
        let mut looked = Instant::now();
        while looked < due {
            std::hint::spin_loop();
            let now = Instant::now();
            gap = gap.max(now - looked);
            looked = now;
        }
        // A late frame is not caught up on.
        due = Instant::now() + PACE;
        let mut turn = longest.time(|| writer.begin())?;
        let value = turn.frame() as u32;
        write_word(turn.work(), kernel, value)?;
        longest.time(|| turn.publish())?;
    }
    longest.gap = gap.as_secs_f64() * 1e6;
    Ok(longest)
}

/// The writer's part of a frame.
struct Publish {
    writer: LatestWriter<Words>,
    kernel: Option<Kernel>,
    last: Option<TimelinePoint>,
}

impl FrameLoop for Publish {
    fn frame(&mut self) -> Result<()> {
        let mut turn = self.writer.begin()?;
        let value = turn.frame() as u32;
        write_word(turn.work(), self.kernel, value)?;
        self.last = Some(turn.publish()?);
        Ok(())
    }

    fn drain(&mut self) -> Result<()> {
        drain(&mut self.last)
    }
}

/// The reader's part of a frame, with the same frame each time.
struct Again {
    reader: LatestReader<Words>,
    last: Option<TimelinePoint>,
}

impl FrameLoop for Again {
    fn frame(&mut self) -> Result<()> {
        let turn = self.reader.newest()?.context("a frame was published")?;
        // SAFETY: no commands; the hand-over of the frame was performed before.
        self.last = Some(unsafe { turn.submit(&[]) }?);
        Ok(())
    }

    fn drain(&mut self) -> Result<()> {
        drain(&mut self.last)
    }
}

/// The writer's and the reader's part, alternating.
struct Both {
    // Field order is drop order: the last handle waits for the submissions, which use the commands.
    reader: Again,
    publish: Publish,
    commands: Commands,
    batch: usize,
}

impl FrameLoop for Both {
    fn frame(&mut self) -> Result<()> {
        self.publish.frame()?;
        let Some(turn) = self.reader.reader.newest()? else { return Ok(()) };
        // SAFETY: recording, for the family of the exchange's queue; submitted with this turn.
        let acquire = |commands| unsafe { turn.record_acquire(commands) };
        let recorded =
            // SAFETY: one command buffer for each frame of a batch, which ends with a drain.
            unsafe { self.commands.record(self.batch, vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT, acquire) }?;
        self.batch += 1;
        // SAFETY: the commands contain the turn's barriers; they live until a drain.
        self.reader.last = Some(unsafe { turn.submit(&[recorded]) }?);
        Ok(())
    }

    fn drain(&mut self) -> Result<()> {
        self.batch = 0;
        self.publish.drain()?;
        self.reader.drain()
    }
}

fn drain(last: &mut Option<TimelinePoint>) -> Result<()> {
    let Some(last) = last.take() else { return Ok(()) };
    spin_until("the last frame", || Ok(last.is_reached()?))
}
