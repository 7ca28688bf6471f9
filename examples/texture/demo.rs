//! A pattern, an exchange of images, and the two sides that share them: everything of a run except
//! the output of its frames.
#![allow(unsafe_code)] // Submits recorded frames.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::console::count;
use crate::gpu::output::Wanted;
use crate::run::{self, Demo, Sample};
use crate::summary::Check;
use crate::texture::check::{Replay, compare_drawn};
use crate::texture::figures::Figures;
use crate::texture::growth::{Growth, Step, Texel};
use crate::texture::options::Options;
use crate::texture::ring::View;
use anyhow::Result;
use bridge::ash::vk;
use bridge::{Compute, Exchange, ExchangeInfo, ImageSpec, OpenInfo, SubmitInfo, TimelinePoint};

use crate::texture::compute::{Grower, Shared};
use crate::texture::render::{ACCESSES, FIELD, Renderer};

/// The timeout of a frame: a constant, plus a share per step of a cell and per texel of light,
/// which is ample for a software rasterizer.
const TIME_LIMIT: Duration = Duration::from_secs(20);
const TIME_LIMIT_PER_MILLION: Duration = Duration::from_millis(200);

/// A run of the texture demo.
pub struct Texture {
    // Field order is drop order: dropping the exchange waits for the frames in flight, which use
    // the fields after it.
    exchange: Exchange<Shared>,
    renderer: Renderer,
    grower: Grower,
    grid: [u32; 2],
    steps: u32,
    seed: u64,
    size: [u32; 2],
    samples: u32,
    time_limit: Duration,
    compute: Compute,
}

// SAFETY: the exchange is the first field, and dropping it waits for its frames, or leaks
// everything that they use.
unsafe impl Demo for Texture {
    const PROGRAM: &'static str = "texture";
    type Options = Options;
    type Figures = Figures;

    fn new(options: &Options, open: &OpenInfo<'_>) -> Result<Self> {
        let compute = run::open(Self::PROGRAM, &options.run, open, vk::PhysicalDeviceFeatures::default())?;
        let cuda = compute.cuda().is_some();
        let (grid, samples) = (options.grid_on(cuda), options.samples_on(cuda));
        let (seed, size, slots) = (options.run.seed, options.run.extent(), options.run.slots as usize);
        let work = |[width, height]: [u32; 2], times: u32| u64::from(width) * u64::from(height) * u64::from(times);
        let millions = (work(grid, options.steps) + work(size, samples * samples)) / 1_000_000;
        let time_limit = TIME_LIMIT + TIME_LIMIT_PER_MILLION * u32::try_from(millions).unwrap_or(u32::MAX);
        // Created first: it reports an unsupported device before anything else is allocated.
        let renderer = Renderer::new(&compute, size, samples, slots, options.run.copies())?;
        let info = ExchangeInfo { name: "field", slots, timeout: time_limit, ..Default::default() };
        let field = ImageSpec::<Texel>::new(FIELD, grid, ACCESSES);
        Ok(Self {
            exchange: Exchange::new(&compute, &info, field)?,
            renderer,
            grower: Grower::new(&compute, &Growth::new(grid, seed))?,
            grid,
            steps: options.steps,
            seed,
            size,
            samples,
            time_limit,
            compute,
        })
    }

    fn compute(&self) -> &Compute {
        &self.compute
    }

    fn about(&self) -> String {
        let [width, height] = self.grid;
        format!("a pattern of {width}x{height} cells, {} a frame, round a ring", count(self.steps, "step"))
    }

    fn time_limit(&self) -> Duration {
        self.time_limit
    }

    unsafe fn frame(
        &mut self,
        frame: u64,
        _: usize,
        wanted: Wanted<'_>,
        submit: SubmitInfo<'_>,
    ) -> Result<TimelinePoint> {
        let mut turn = self.exchange.begin()?;
        self.grower.advance(&mut turn, &Step::new(self.grid, frame), self.steps)?;
        let turn = turn.finish()?;
        if wanted.window.is_some() {
            turn.prepare_present()?;
        }
        // SAFETY: the slot's last frame is done, as the caller guarantees.
        let commands = unsafe { self.renderer.record(&turn, &View::new(frame, self.size, self.grid), wanted) }?;
        let submit = SubmitInfo { commands: &[commands], ..submit };
        let slot = turn.slot();
        // SAFETY: the commands were recorded for this turn between its barriers, for the device's
        // own queue; everything that they use is freed after the exchange, which waits for them, or
        // belongs to the caller.
        let rendered = unsafe { turn.submit_with(&submit) }?;
        // SAFETY: recorded with this slot, and just submitted.
        unsafe { self.renderer.send(slot, wanted, &rendered) }?;
        Ok(rendered)
    }

    unsafe fn picture(&self, slot: usize) -> Result<&[u8]> {
        // SAFETY: the caller guarantees it.
        unsafe { self.renderer.picture(slot) }
    }

    fn samples(&self, frames: u64) -> (Vec<u64>, u64) {
        let texels = u64::from(self.grid[0]) * u64::from(self.grid[1]);
        (vec![0, frames / 2, frames - 1], texels * size_of::<Texel>() as u64)
    }

    fn check(&self, samples: &BTreeMap<u64, Sample>) -> Result<Vec<Check>> {
        let mut replay = Replay::new(self.grid, self.seed, self.steps);
        let mut checks = vec![];
        for (&frame, sample) in samples {
            // SAFETY: samples are checked after the run, when each of their frames is done.
            let image = unsafe { sample.data::<Texel>() }?;
            match replay.compare(frame, image) {
                Some(result) => checks.push(Check::data(frame, result)),
                None => log::warn!("frame {frame}: its cells are not compared, growing them again would take too long"),
            }
            let drawn = compare_drawn(frame, image, self.grid, self.size, self.samples, &sample.picture);
            checks.push(Check::likeness(frame, "picture", drawn));
        }
        Ok(checks)
    }

    fn figures(&self, frames: u64, seconds: f64) -> Figures {
        Figures::new(self.grid, self.steps, self.samples, frames, seconds)
    }
}
