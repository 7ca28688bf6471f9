//! Two exchanges, one in each direction, and the two sides that share them: everything of a run
//! except the output of its frames.
#![allow(unsafe_code)] // Submits recorded frames.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::gpu::output::Wanted;
use crate::postprocess::bloom::{Bloom, Texel};
use crate::postprocess::check::{compare_picture, compare_scene};
use crate::postprocess::figures::Figures;
use crate::postprocess::knot::View;
use crate::postprocess::options::Options;
use crate::run::{self, Demo, Sample};
use crate::summary::Check;
use anyhow::{Context, Result};
use bridge::ash::vk;
use bridge::{
    Compute, ComputeTurn, Exchange, ExchangeInfo, ImageSpec, OpenInfo, RenderFirst, SubmitInfo, TimelinePoint,
};
use vk_local::LocalBuffer;

use crate::postprocess::compute::{Filter, Shared};
use crate::postprocess::render::{LIGHT, PICTURE, Renderer, SCENE};

/// The timeout of a frame: a constant, plus a share per texel of the scene, which is ample for a
/// software rasterizer.
const TIME_LIMIT: Duration = Duration::from_secs(20);
const TIME_LIMIT_PER_TEXEL: Duration = Duration::from_micros(4);

/// A run of the post-processing demo.
pub struct Postprocess {
    // Field order is drop order: dropping the exchanges waits for the frames in flight, which use
    // the fields after them.
    /// The scene of the next frame, which Vulkan draws while compute filters the current one, with
    /// the frame's number.
    ahead: Option<(u64, ComputeTurn<Shared, RenderFirst>)>,
    /// The point at which the last scene of each slot is drawn, when its command buffer is free
    /// again. A scene that is drawn again is not a frame, so the wait for frames in flight does not
    /// cover it.
    drawn: Vec<Option<TimelinePoint>>,
    /// Vulkan draws, compute reads.
    scene: Exchange<Shared, RenderFirst>,
    /// Compute writes, Vulkan shows.
    picture: Exchange<Shared>,
    renderer: Renderer,
    filter: Filter,
    size: [u32; 2],
    samples: u32,
    seed: u64,
    time_limit: Duration,
    compute: Compute,
}

impl Postprocess {
    /// Draws the scene of a frame. Returns the compute turn, which waits for the drawing.
    ///
    /// # Safety
    /// Nothing else uses the sample until the scene is drawn.
    unsafe fn draw(&mut self, frame: u64, sample: Option<&LocalBuffer>) -> Result<ComputeTurn<Shared, RenderFirst>> {
        let turn = self.scene.begin()?;
        let last = self.drawn.get_mut(turn.slot()).context("no such slot")?;
        if let Some(point) = last.take() {
            point.wait(self.time_limit)?;
        }
        // SAFETY: the commands recorded with this slot have completed, see above; the caller
        // guarantees the same for the sample.
        let commands = unsafe { self.renderer.draw(&turn, &View::new(frame, self.size, self.seed), sample) }?;
        // SAFETY: the commands were recorded for this turn between its barriers, for the device's
        // own queue; everything that they use is freed after the exchange, which waits for them, or
        // belongs to the caller.
        let turn = unsafe { turn.submit(&[commands]) }?;
        if let Some(last) = self.drawn.get_mut(turn.slot()) {
            *last = Some(turn.rendered());
        }
        Ok(turn)
    }
}

impl Drop for Postprocess {
    fn drop(&mut self) {
        let skipped = self.ahead.take().map_or(Ok(()), |(_, scene)| scene.skip());
        if let Err(error) = skipped {
            log::error!("the scene that was drawn ahead: {error}");
        }
    }
}

// SAFETY: only a turn and points are dropped before the exchanges, and dropping the exchanges waits
// for their frames, or leaks everything that they use.
unsafe impl Demo for Postprocess {
    const PROGRAM: &'static str = "postprocess";
    type Options = Options;
    type Figures = Figures;

    fn new(options: &Options, open: &OpenInfo<'_>) -> Result<Self> {
        let compute = run::open(Self::PROGRAM, &options.run, open, vk::PhysicalDeviceFeatures::default())?;
        let samples = options.samples_on(compute.cuda().is_some());
        let (size, slots) = (options.run.extent(), options.run.slots as usize);
        let bloom = Bloom::new(0, size, samples);
        let time_limit = TIME_LIMIT + TIME_LIMIT_PER_TEXEL * bloom.scene().iter().product();
        // Created first: it reports an unsupported device before anything else is allocated.
        let renderer = Renderer::new(&compute, &bloom, slots, options.run.copies())?;
        let info = |name, slots| ExchangeInfo { name, slots, timeout: time_limit, ..Default::default() };
        let scene = ImageSpec::<Texel>::new(LIGHT, bloom.scene(), SCENE);
        let picture = ImageSpec::<Texel>::new(LIGHT, size, PICTURE);
        Ok(Self {
            ahead: None,
            drawn: vec![None; slots + 1],
            // One slot more than frames in flight, for the scene that is drawn ahead.
            scene: Exchange::render_first(&compute, &info("scene", slots + 1), scene)?,
            picture: Exchange::new(&compute, &info("picture", slots), picture)?,
            renderer,
            filter: Filter::new(&compute, &bloom)?,
            size,
            samples,
            seed: options.run.seed,
            time_limit,
            compute,
        })
    }

    fn compute(&self) -> &Compute {
        &self.compute
    }

    fn about(&self) -> String {
        let [width, height] = self.size.map(|side| side * self.samples);
        format!("a knot of light, drawn as {width}x{height} texels and filtered")
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
        let mut scene = match self.ahead.take() {
            Some((of, scene)) if of == frame && wanted.sample.is_none() => scene,
            other => {
                // Draws the scene again, this time with a copy to the sample.
                other.map_or(Ok(()), |(_, scene)| scene.skip())?;
                // SAFETY: the caller guarantees it.
                unsafe { self.draw(frame, wanted.sample) }?
            }
        };
        let mut picture = self.picture.begin()?;
        self.filter.run(&mut scene, &mut picture, &Bloom::new(frame, self.size, self.samples))?;
        scene.finish()?;
        let turn = picture.finish()?;
        // Drawn before the picture is submitted, which waits for the filter, so that the queue
        // draws in the meantime.
        // SAFETY: there is no sample.
        self.ahead = Some((frame + 1, unsafe { self.draw(frame + 1, None) }?));

        if wanted.window.is_some() {
            turn.prepare_present()?;
        }
        // SAFETY: the slot's last frame is done, as the caller guarantees.
        let commands = unsafe { self.renderer.show(&turn, wanted) }?;
        let submit = SubmitInfo { commands: &[commands], ..submit };
        let slot = turn.slot();
        // SAFETY: as for the scene.
        let rendered = unsafe { turn.submit_with(&submit) }?;
        // SAFETY: recorded with this slot, and just submitted.
        unsafe { self.renderer.send(slot, wanted, &rendered) }?;
        Ok(rendered)
    }

    unsafe fn resize(&mut self, size: [u32; 2]) -> Result<()> {
        if size == self.size {
            return Ok(());
        }
        if let Some((_, scene)) = self.ahead.take() {
            // The scene ahead is not a frame that was begun, so its target may still be in use
            // here.
            scene.rendered().wait(self.time_limit)?;
            scene.skip()?;
        }
        let bloom = Bloom::new(0, size, self.samples);
        // The exchanges free the old images when both sides have finished with them.
        self.scene.resize(bloom.scene())?;
        self.picture.resize(size)?;
        // SAFETY: the caller guarantees it.
        unsafe { self.renderer.resize(&bloom) }?;
        self.filter.resize(&self.compute, &bloom)?;
        self.size = size;
        Ok(())
    }

    unsafe fn picture(&self, slot: usize) -> Result<&[u8]> {
        // SAFETY: the caller guarantees it.
        unsafe { self.renderer.picture(slot) }
    }

    fn samples(&self, frames: u64) -> (Vec<u64>, u64) {
        let [width, height] = self.size.map(|side| u64::from(side * self.samples));
        (vec![0, frames / 2, frames - 1], width * height * size_of::<Texel>() as u64)
    }

    fn check(&self, samples: &BTreeMap<u64, Sample>) -> Result<Vec<Check>> {
        let mut checks = vec![];
        for (&frame, sample) in samples {
            // SAFETY: samples are checked after the run, when each of their frames is done.
            let scene = unsafe { sample.data::<Texel>() }?;
            let bloom = Bloom::new(frame, self.size, self.samples);
            checks.push(Check::likeness(frame, "scene", compare_scene(frame, self.seed, &bloom, scene)));
            let picture = compare_picture(frame, &bloom, scene, &sample.picture);
            checks.push(Check::likeness(frame, "picture", picture));
        }
        Ok(checks)
    }

    fn figures(&self, frames: u64, seconds: f64) -> Figures {
        Figures::new(self.size.map(|side| side * self.samples), self.samples, frames, seconds)
    }
}
