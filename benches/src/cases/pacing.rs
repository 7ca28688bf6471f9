//! The frame rate that a bound on the frames in flight costs, and the latency that it saves.
#![allow(unsafe_code)] // Records and submits.

use std::collections::VecDeque;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use bridge::{Exchange, TimelinePoint};
use bridge_examples::gpu::output::Wanted;
use bridge_examples::particles::compute::{Mover, Shared};
use bridge_examples::particles::render::Renderer;

use super::particles::spaced;
use super::show::{SHOWN, SLOTS, Show};
use super::{Bench, Case, Rows};
use crate::gpu::Gpu;
use crate::harness::frames::{FrameLoop, MAX_BATCH, batch_size};
use crate::harness::rounds::alternate;
use crate::harness::stats::Summary;
use crate::harness::{LIMIT, spin_until};
use crate::options::Profile;
use crate::report::Samples;

/// The bounds; the last one is no bound.
const BOUNDS: [Option<usize>; 4] = [Some(1), Some(2), Some(3), None];

pub(super) fn cases(profile: &Profile) -> Vec<Case> {
    let count = profile.pick(1_000_000, 20_000);
    let what = format!("{} particles, {SLOTS} slots", spaced(count));
    vec![Case::new("pacing", what.clone(), move |bench, rows| run(bench, rows, count, &what))]
}

/// The results of a batch of frames.
struct Batch {
    /// Frames per second.
    rate: f64,
    /// The batch's median time in milliseconds from the return of `begin`, when a program reads
    /// user input, to the end of drawing the frame.
    latency: f64,
}

fn run(bench: &Bench, rows: &mut Rows, count: u32, what: &str) -> Result<()> {
    let gpu = &bench.gpu;
    let show = Show::new(gpu, count, bench.profile.pick([1280, 720], [320, 180]));
    rows.parameter("particles", count);
    rows.parameter("slots", SLOTS);
    let mut loops = BOUNDS.iter().map(|bound| Frames::new(gpu, &show, *bound)).collect::<Result<Vec<_>>>()?;
    let unbounded: &mut dyn FrameLoop = loops.last_mut().context("no loops")?;
    let fit = batch_size(4 * bench.profile.slice, MAX_BATCH, &mut [unbounded])?.first().copied().unwrap_or(1);
    // A multiple of a full cycle forward and back, so that all loops make the same frames.
    let frames = fit.next_multiple_of(2 * SHOWN as usize);
    let batches = alternate(&bench.profile, bench.profile.pick(7, 3), loops.len(), |way| {
        loops.get_mut(way).context("no such way")?.batch(frames)
    })?;
    let figures = |of: fn(&Batch) -> f64| -> Vec<Vec<f64>> {
        batches.iter().map(|batches| batches.iter().map(of).collect()).collect()
    };
    let (rates, latencies) = (figures(|batch| batch.rate), figures(|batch| batch.latency));
    for ((bound, rate), latency) in BOUNDS.iter().zip(&rates).zip(&latencies) {
        let (part, text) = match bound {
            Some(1) => ("1".to_owned(), "1 frame in flight".to_owned()),
            Some(bound) => (bound.to_string(), format!("{bound} frames in flight")),
            None => ("none".to_owned(), "no bound but the wait for a slot's commands".to_owned()),
        };
        let unbounded =
            |all: &'_ [Vec<f64>]| if bound.is_some() { all.last().cloned() } else { None }.unwrap_or_default();
        rows.parameter("frames_in_flight", *bound);
        let others = unbounded(&rates);
        rows.higher(
            &format!("{part}/rate"),
            format!("{what}, {text}: rate"),
            "frames/s",
            rate,
            &[Samples::rival("no bound", &others)],
            None,
        )?;
        let others = unbounded(&latencies);
        rows.lower(
            &format!("{part}/latency"),
            format!("{what}, {text}: from begin to drawn"),
            "ms",
            latency,
            &[Samples::rival("no bound", &others)],
            None,
        )?;
    }
    Ok(())
}

/// The demo's frames, with a bound on the frames in flight.
struct Frames<'s> {
    // Field order is drop order: dropping the exchange waits for the frames, which use the fields
    // after it.
    exchange: Exchange<Shared>,
    renderer: Renderer,
    mover: Mover,
    /// The last frame of each slot, oldest first.
    in_flight: VecDeque<TimelinePoint>,
    frames: u64,
    show: &'s Show,
}

impl<'s> Frames<'s> {
    fn new(gpu: &Gpu, show: &'s Show, bound: Option<usize>) -> Result<Self> {
        Ok(Self {
            exchange: show.exchange(gpu, SLOTS, bound)?,
            renderer: show.renderer(&gpu.device, SLOTS)?,
            mover: Mover::new(&gpu.compute, &show.bodies)?,
            in_flight: VecDeque::with_capacity(SLOTS),
            frames: 0,
            show,
        })
    }

    /// Makes a frame; returns when it began, and the point at which it is drawn.
    fn make(&mut self) -> Result<(Instant, TimelinePoint)> {
        let mut turn = self.exchange.begin()?;
        let begun = Instant::now();
        self.mover.advance(&mut turn, self.show.step(self.frames))?;
        let turn = turn.finish()?;
        // As late as possible: only recording needs the slot's command buffer.
        if self.in_flight.len() == SLOTS {
            self.in_flight.pop_front().context("no slots")?.wait(LIMIT)?;
        }
        // SAFETY: the slot's last frame was waited for above.
        let commands = unsafe { self.renderer.record(&turn, self.show.view(self.frames), Wanted::default()) }?;
        // SAFETY: recorded for this turn; its resources are freed after the exchange, which waits
        // for the commands.
        let point = unsafe { turn.submit(&[commands]) }?;
        self.in_flight.push_back(point.clone());
        self.frames += 1;
        Ok((begun, point))
    }

    /// Makes `frames` frames while another thread polls continuously for the time at which each is
    /// drawn.
    fn batch(&mut self, frames: usize) -> Result<Batch> {
        let (sender, receiver) = mpsc::sync_channel::<(Instant, TimelinePoint)>(2 * SLOTS);
        thread::scope(|scope| {
            let observer = scope.spawn(move || -> Result<(Vec<f64>, Option<Instant>)> {
                let (mut latencies, mut last) = (Vec::with_capacity(frames), None);
                for (begun, point) in receiver {
                    spin_until("a frame", || Ok(point.is_reached()?))?;
                    let now = Instant::now();
                    latencies.push((now - begun).as_secs_f64() * 1e3);
                    last = Some(now);
                }
                Ok((latencies, last))
            });
            let start = Instant::now();
            let made = (0..frames).try_for_each(|_| {
                let frame = self.make()?;
                sender.send(frame).map_err(|_| anyhow!("nobody looks at the frames any more"))
            });
            drop(sender);
            let (latencies, last) = observer.join().map_err(|_| anyhow!("the observer panicked"))??;
            made?;
            self.drain()?;
            let latency = Summary::of(&latencies).context("no frames were made")?.median;
            let seconds = last.context("no frames were made")?.duration_since(start).as_secs_f64();
            Ok(Batch { rate: frames as f64 / seconds, latency })
        })
    }
}

impl FrameLoop for Frames<'_> {
    fn frame(&mut self) -> Result<()> {
        self.make().map(drop)
    }

    fn drain(&mut self) -> Result<()> {
        self.in_flight.drain(..).try_for_each(|point| Ok(point.wait(LIMIT)?))
    }
}
