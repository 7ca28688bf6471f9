//! How a few frames spend their time: the work of both sides, on one clock.
//!
//! The clock is `CLOCK_MONOTONIC`. The driver calibrates Vulkan's timestamps against it
//! (`VK_KHR_calibrated_timestamps`, or its EXT variant). CUDA's events are measured from a
//! reference event, whose time the host brackets. Both calibrations run before and after the
//! frames; the error is half of the bracket, or the deviation that the driver reports, plus the
//! difference between the two calibrations.
#![allow(unsafe_code)] // Records and submits.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use bridge::{ComputeTurn, SubmitInfo, Work};
use bridge_examples::gpu::output::Wanted;
use bridge_examples::particles::compute::{Mover, Shared};

use super::particles::spaced;
use super::show::{SLOTS, Show};
use super::{Bench, Case, Rows};
use crate::gpu::Gpu;
use crate::harness::clock::monotonic_ns;
use crate::harness::{LIMIT, Skip};
use crate::options::Profile;
use crate::raw::cuda::{Event, Stream};
use crate::raw::stamps::{Stamps, VulkanClock};
use crate::report::Samples;
use crate::report::spans::{Lane, Span, Spans};

/// The number of frames before those that are shown, and of shown frames.
const BEFORE: u64 = 24;
const SHOWN: u64 = 5;
const FRAMES: u64 = BEFORE + SHOWN;

pub(super) fn cases(profile: &Profile) -> Vec<Case> {
    let count = profile.pick(1_000_000, 20_000);
    let what = format!("frame of {} particles, from the end of one to the end of the next", spaced(count));
    vec![Case::new(format!("timeline/{count}"), what.clone(), move |bench, rows| run(bench, rows, count, &what))]
}

fn run(bench: &Bench, rows: &mut Rows, count: u32, what: &str) -> Result<()> {
    let gpu = &bench.gpu;
    let show = Show::new(gpu, count, bench.profile.pick([1280, 720], [320, 180]));
    rows.parameter("particles", count);
    rows.parameter("slots", SLOTS);
    let spans = frames(gpu, &show)?;
    let [host, compute, vulkan] = &spans.lanes[..] else { anyhow::bail!("three lanes were filled") };
    rows.lower(
        "",
        what,
        "µs",
        &vulkan.intervals(),
        &[
            Samples::comparison("host: begin to submit", &host.durations()),
            Samples::comparison("compute", &compute.durations()),
            Samples::comparison("from compute to Vulkan", &compute.gaps_to(vulkan)),
            Samples::comparison("Vulkan", &vulkan.durations()),
        ],
        None,
    )?;
    bench.spans.borrow_mut().push(spans);
    Ok(())
}

/// Makes the frames of the demo, and returns the spans of the last ones.
fn frames(gpu: &Gpu, show: &Show) -> Result<Spans> {
    let device = &gpu.device;
    let vulkan = VulkanClock::new(gpu, device)?;
    let stamps = Stamps::new(device, FRAMES)?;
    let compute = ComputeClock::new(gpu)?;
    let vulkan_before = vulkan.sample()?;

    // The exchange is declared last, so it is dropped first and waits for the frames, which use the
    // values declared before it.
    let mut renderer = show.renderer(device, SLOTS)?;
    let mut mover = Mover::new(&gpu.compute, &show.bodies)?;
    let mut exchange = show.exchange(gpu, SLOTS, None)?;
    let mut in_flight = VecDeque::with_capacity(SLOTS);
    let mut host = Vec::new();
    for frame in 0..FRAMES {
        if in_flight.len() == SLOTS {
            let oldest: bridge::TimelinePoint = in_flight.pop_front().context("no slots")?;
            oldest.wait(LIMIT)?;
        }
        let begun = now()?;
        let mut turn = exchange.begin()?;
        compute.stamp(&mut turn, frame, 0)?;
        mover.advance(&mut turn, show.step(frame))?;
        compute.stamp(&mut turn, frame, 1)?;
        let turn = turn.finish()?;
        // SAFETY: the slot's last frame was waited for above.
        let commands = unsafe { renderer.record(&turn, show.view(frame), Wanted::default()) }?;
        let [first, last] = stamps.around(frame)?;
        let info = SubmitInfo { commands: &[first, commands, last], ..SubmitInfo::default() };
        // SAFETY: recorded for this turn, and two timestamps; its resources are freed after the
        // exchange.
        in_flight.push_back(unsafe { turn.submit_with(&info) }?);
        host.push((begun, now()?));
    }
    for point in in_flight {
        point.wait(LIMIT)?;
    }
    exchange.close()?;
    let vulkan_after = vulkan.sample()?;
    let drawn = stamps.read(&vulkan, vulkan_before)?;
    let (computed, compute_error) = compute.read()?;
    let drift = vulkan.to_ns(vulkan_before, vulkan_after.device) - vulkan_after.host as f64;
    let vulkan_error = vulkan_before.deviation.max(vulkan_after.deviation) as f64 + drift.abs();

    let shown = |spans: Vec<(f64, f64)>| spans.into_iter().zip(0..FRAMES).skip(BEFORE as usize);
    let host = host.into_iter().map(|(a, b)| (a as f64, b as f64)).collect();
    let begin = computed.get(BEFORE as usize).context("no frames were computed")?.0;
    let lane = |name: &str, error: f64, spans| {
        let span = |((start, end), frame): ((f64, f64), u64)| Span {
            frame,
            start_us: (start - begin) * 1e-3,
            end_us: (end - begin) * 1e-3,
        };
        Lane { name: name.to_owned(), error_us: error * 1e-3, spans: shown(spans).map(span).collect() }
    };
    let compute_name = if gpu.is_cuda() { "CUDA" } else { "processor" };
    Ok(Spans {
        name: "timeline".to_owned(),
        what: format!("Where the time goes: {} particles, {SLOTS} slots, on {}", spaced(show.count()), device.name()),
        lanes: vec![
            lane("host", 0.0, host),
            lane(compute_name, compute_error, computed),
            lane("Vulkan", vulkan_error, drawn),
        ],
    })
}

fn now() -> Result<i64> {
    monotonic_ns().map_or_else(|| Skip::because("this system has no CLOCK_MONOTONIC"), Ok)
}

/// The times of the compute side's work.
enum ComputeClock {
    /// CUDA's events, and a reference event with its time.
    Cuda { stamps: Vec<[Event; 2]>, reference: Reference, stream: Stream },
    /// The times that closures on the CPU read, in nanoseconds.
    Host(Arc<Mutex<Vec<[i64; 2]>>>),
}

/// An event and its time, in nanoseconds.
struct Reference {
    event: Event,
    at: f64,
    error: f64,
}

impl Reference {
    /// Records several events and returns the one with the narrowest bracket.
    fn take(stream: &Stream) -> Result<Self> {
        const TRIES: usize = 64;
        let mut best: Option<Self> = None;
        for _ in 0..TRIES {
            let event = Event::timing(stream.context())?;
            let before = now()?;
            event.record(stream.as_raw())?;
            event.spin()?;
            let after = now()?;
            let error = (after - before) as f64 / 2.0;
            if best.as_ref().is_none_or(|best| error < best.error) {
                best = Some(Self { event, at: before as f64 + error, error });
            }
        }
        best.context("no event was recorded")
    }
}

impl ComputeClock {
    fn new(gpu: &Gpu) -> Result<Self> {
        let Some(cuda) = gpu.compute.cuda() else {
            return Ok(Self::Host(Arc::new(Mutex::new(vec![[0; 2]; FRAMES as usize]))));
        };
        let stream = Stream::new(cuda)?;
        let context = stream.context();
        let stamps =
            (0..FRAMES).map(|_| Ok([Event::timing(context)?, Event::timing(context)?])).collect::<Result<_>>()?;
        let reference = Reference::take(&stream)?;
        Ok(Self::Cuda { stamps, reference, stream })
    }

    /// Records the time of the start (0) or the end (1) of a frame's work when the compute side
    /// reaches it.
    fn stamp(&self, turn: &mut ComputeTurn<Shared>, frame: u64, end: usize) -> Result<()> {
        match (self, turn.work()) {
            (Self::Cuda { stamps, .. }, Work::Cuda(cuda)) => {
                let stamp = stamps.get(frame as usize).and_then(|both| both.get(end)).context("no event")?;
                stamp.record(cuda.stream.cu_stream())
            }
            (Self::Host(stamps), Work::Host(host)) => {
                let stamps = Arc::clone(stamps);
                Ok(host.run(move |_| {
                    let mut stamps = stamps.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(stamp) = stamps.get_mut(frame as usize).and_then(|both| both.get_mut(end)) {
                        *stamp = monotonic_ns().unwrap_or_default();
                    }
                })?)
            }
            _ => anyhow::bail!("a clock of another backend"),
        }
    }

    /// Returns the start and the end of every frame's work in nanoseconds, and the possible error.
    /// All work must be done.
    fn read(&self) -> Result<(Vec<(f64, f64)>, f64)> {
        match self {
            Self::Host(stamps) => {
                let stamps = stamps.lock().unwrap_or_else(PoisonError::into_inner);
                Ok((stamps.iter().map(|[start, end]| (*start as f64, *end as f64)).collect(), 0.0))
            }
            Self::Cuda { stamps, reference, stream } => {
                let at = |event: &Event| anyhow::Ok(reference.at + event.since(&reference.event)? * 1e3);
                let times = stamps.iter().map(|[start, end]| Ok((at(start)?, at(end)?))).collect::<Result<Vec<_>>>()?;
                // If the clocks drift apart, a second reference is not at the time that follows
                // from the first one.
                let again = Reference::take(stream)?;
                Ok((times, reference.error + again.error + (at(&again.event)? - again.at).abs()))
            }
        }
    }
}
