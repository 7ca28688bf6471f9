//! A frame of the particle demo whose picture is copied to the host: by the frame itself, or
//! separately.
#![allow(unsafe_code)] // Records and submits.

use std::collections::VecDeque;

use anyhow::{Context, Result, bail};
use bridge::{Exchange, QueueKind, TimelinePoint};
use bridge_examples::gpu::output::{Copies, Wanted};
use bridge_examples::particles::compute::{Mover, Shared};
use bridge_examples::particles::render::Renderer;

use super::show::{SLOTS, Show};
use super::{Bench, Case, Rows};
use crate::gpu::Gpu;
use crate::harness::LIMIT;
use crate::harness::frames::{FrameLoop, MAX_SMALL_BATCH, batch_size, walls};
use crate::options::Profile;
use crate::report::Samples;

const PARTICLES: u32 = 100_000;

pub(super) fn cases(profile: &Profile) -> Vec<Case> {
    let sizes: &[[u32; 2]] = profile.pick(&[[1280, 720], [3840, 2160]], &[[320, 180]]);
    let of = |[width, height]: [u32; 2]| {
        let what = format!("frame of {width}x{height}, its picture copied to the host");
        let name = format!("record/{width}x{height}");
        Case::new(name, what.clone(), move |bench, rows| run(bench, rows, [width, height], &what))
    };
    sizes.iter().copied().map(of).collect()
}

fn run(bench: &Bench, rows: &mut Rows, size: [u32; 2], what: &str) -> Result<()> {
    let gpu = &bench.gpu;
    let show = Show::new(gpu, bench.profile.pick(PARTICLES, 1000), size);
    rows.parameter("particles", PARTICLES);
    rows.parameter("slots", SLOTS);
    let mut apart = Frames::new(gpu, &show, Copies::Apart, true)?;
    let mut with_frame = Frames::new(gpu, &show, Copies::Frame, true)?;
    let mut none = Frames::new(gpu, &show, Copies::Frame, false)?;
    let mut loops: [&mut dyn FrameLoop; 3] = [&mut apart, &mut with_frame, &mut none];
    let frames = batch_size(bench.profile.slice, MAX_SMALL_BATCH, &mut loops)?;
    let costs = walls(&bench.profile, bench.profile.rounds, &frames, &mut loops)?;
    let [apart, with_frame, none] = &costs[..] else { bail!("three loops were measured") };
    let queue =
        if gpu.device.queue_of(QueueKind::Transfer).is_some() { "the transfer queue" } else { "the same queue" };
    let others = [Samples::rival("by the frame itself", with_frame), Samples::comparison("no copy", none)];
    rows.lower("", format!("{what}, apart on {queue}"), "µs", apart, &others, None)
}

/// Frames as the demo records them.
struct Frames<'s> {
    // Field order is drop order: dropping the exchange waits for the frames, which use the fields
    // after it.
    exchange: Exchange<Shared>,
    renderer: Renderer,
    mover: Mover,
    in_flight: VecDeque<(usize, TimelinePoint)>,
    copies: bool,
    frames: u64,
    show: &'s Show,
}

impl<'s> Frames<'s> {
    fn new(gpu: &Gpu, show: &'s Show, copies: Copies, copied: bool) -> Result<Self> {
        Ok(Self {
            exchange: show.exchange(gpu, SLOTS, None)?,
            renderer: show.renderer_with(&gpu.device, SLOTS, copies)?,
            mover: Mover::new(&gpu.compute, &show.bodies)?,
            in_flight: VecDeque::with_capacity(SLOTS),
            copies: copied,
            frames: 0,
            show,
        })
    }

    /// Waits for the oldest frame and its picture, which a program would then write to a file.
    fn finish(&mut self) -> Result<()> {
        let (slot, rendered) = self.in_flight.pop_front().context("no frame")?;
        rendered.wait(LIMIT)?;
        if self.copies {
            // SAFETY: the frame is done, and its slot begins the next frame only after this.
            std::hint::black_box(unsafe { self.renderer.picture(slot) }?);
        }
        Ok(())
    }
}

impl FrameLoop for Frames<'_> {
    fn frame(&mut self) -> Result<()> {
        if self.in_flight.len() == self.exchange.slots() {
            self.finish()?;
        }
        let wanted = Wanted { picture: self.copies, ..Wanted::default() };
        let mut turn = self.exchange.begin()?;
        self.mover.advance(&mut turn, self.show.step(self.frames))?;
        let turn = turn.finish()?;
        let slot = turn.slot();
        // SAFETY: the slot's last frame was waited for above.
        let commands = unsafe { self.renderer.record(&turn, self.show.view(self.frames), wanted) }?;
        // SAFETY: recorded for this turn; its resources are freed after the exchange, which waits
        // for the commands.
        let rendered = unsafe { turn.submit(&[commands]) }?;
        // SAFETY: recorded with this slot, submitted just now.
        unsafe { self.renderer.send(slot, wanted, &rendered) }?;
        self.in_flight.push_back((slot, rendered));
        self.frames += 1;
        Ok(())
    }

    fn drain(&mut self) -> Result<()> {
        while !self.in_flight.is_empty() {
            self.finish()?;
        }
        Ok(())
    }
}
