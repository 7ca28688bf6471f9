//! A scene, an exchange, and the two sides that share it: everything of a run except the output of
//! its frames.
#![allow(unsafe_code)] // Submits recorded frames.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::console::count;
use crate::gpu::output::Wanted;
use crate::particles::check::{LEAST_HOME, Replay, compare_drawn};
use crate::particles::compute::{Mover, Shared};
use crate::particles::figures::Figures;
use crate::particles::options::Options;
use crate::particles::particle::Particle;
use crate::particles::render::{ACCESSES, Renderer};
use crate::particles::scene::{Scene, SceneInfo};
use crate::picture::Picture;
use crate::psnr::compare;
use crate::run::{self, Demo, Sample};
use crate::summary::Check;
use anyhow::Result;
use bridge::ash::vk;
use bridge::{BufferSpec, Compute, Exchange, ExchangeInfo, OpenInfo, SubmitInfo, TimelinePoint};

/// The timeout of a frame: a constant, plus a share per particle and per pixel, which is ample for
/// a software rasterizer.
const TIME_LIMIT: Duration = Duration::from_secs(20);
const TIME_LIMIT_PER_PARTICLE: Duration = Duration::from_micros(20);
const TIME_LIMIT_PER_PIXEL: Duration = Duration::from_micros(1);

/// Up to this many bytes of particles, the first and the middle frame are checked as well as the
/// last.
const CHECK_MORE: u64 = 256 << 20;

/// A run of the particle demo.
pub struct Particles {
    // Field order is drop order: dropping the exchange waits for the frames in flight, which use
    // the fields after it.
    exchange: Exchange<Shared>,
    renderer: Renderer,
    mover: Mover,
    scene: Scene,
    /// The scene's name in the summary.
    name: String,
    size: [u32; 2],
    point_limit: f32,
    time_limit: Duration,
    compute: Compute,
}

// SAFETY: the exchange is the first field, and dropping it waits for its frames, or leaks
// everything that they use.
unsafe impl Demo for Particles {
    const PROGRAM: &'static str = "particles";
    type Options = Options;
    type Figures = Figures;

    fn new(options: &Options, open: &OpenInfo<'_>) -> Result<Self> {
        let picture = options.image.as_deref().map(Picture::open).transpose()?;
        let features = vk::PhysicalDeviceFeatures { large_points: vk::TRUE, ..Default::default() };
        let compute = run::open(Self::PROGRAM, &options.run, open, features)?;
        let compute = if options.gpus > 1 { run::gpus::several(&compute, options.gpus)? } else { compute };
        let device = compute.device();
        let size = options.run.extent();
        let point_limit = device.physical().limits.point_size_range[1];
        let scene = Scene::new(SceneInfo {
            picture,
            seed: options.run.seed,
            frames: options.run.story(),
            size,
            particles: options.particles_on(compute.cuda().is_some()),
            point_limit,
        });
        let slots = options.run.slots as usize;
        let time_limit =
            TIME_LIMIT + TIME_LIMIT_PER_PARTICLE * scene.particles() + TIME_LIMIT_PER_PIXEL * (size[0] * size[1]);
        let info = ExchangeInfo { name: Self::PROGRAM, slots, timeout: time_limit, ..Default::default() };
        let spec = BufferSpec::<Particle>::new(scene.particles() as usize, ACCESSES);
        Ok(Self {
            exchange: Exchange::new(&compute, &info, spec)?,
            renderer: Renderer::new(device, scene.look(), scene.particles(), size, slots, options.run.copies())?,
            mover: Mover::new(&compute, &scene.bodies())?,
            name: options.image.as_ref().map_or("encounter".into(), |path| path.display().to_string()),
            scene,
            size,
            point_limit,
            time_limit,
            compute,
        })
    }

    fn compute(&self) -> &Compute {
        &self.compute
    }

    fn about(&self) -> String {
        let scene = if self.scene.reference().is_some() { &self.name } else { "two galaxies" };
        format!("{}, {scene}", count(self.scene.particles(), "particle"))
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
        self.mover.advance(&mut turn, &self.scene.step(frame))?;
        let turn = turn.finish()?;
        let view = self.scene.view(frame, self.size, self.point_limit);
        if wanted.window.is_some() {
            turn.prepare_present()?;
        }
        // SAFETY: the slot's last frame is done, as the caller guarantees.
        let commands = unsafe { self.renderer.record(&turn, &view, wanted) }?;
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
        let bytes = u64::from(self.scene.particles()) * size_of::<Particle>() as u64;
        let last = frames - 1;
        (if bytes <= CHECK_MORE { vec![0, frames / 2, last] } else { vec![last] }, bytes)
    }

    /// Replays all frames and checks those that were sampled.
    fn check(&self, samples: &BTreeMap<u64, Sample>) -> Result<Vec<Check>> {
        let scene = &self.scene;
        let mut replay = Replay::new(&scene.bodies());
        let mut checks = vec![];
        let last = samples.keys().next_back().copied().unwrap_or_default();
        for frame in 0..=last {
            replay.advance(&scene.step(frame));
            let Some(sample) = samples.get(&frame) else { continue };
            // SAFETY: samples are checked after the run, when each of their frames is done.
            let particles = unsafe { sample.data::<Particle>() }?;
            checks.push(Check::data(frame, replay.compare(frame, particles)));
            let view = scene.view(frame, self.size, self.point_limit);
            let drawn = compare_drawn(frame, scene, &view, self.size, particles, &sample.picture);
            checks.push(Check::likeness(frame, "picture", drawn));
            if let Some(reference) = scene.reference().filter(|_| frame == 0 || frame == last) {
                let what = "the picture that it was made of";
                let home = compare(frame, what, &sample.picture, &reference, LEAST_HOME);
                checks.push(Check::likeness(frame, "reference", home));
            }
        }
        Ok(checks)
    }

    fn figures(&self, frames: u64, seconds: f64) -> Figures {
        Figures::new(self.name.clone(), self.scene.particles(), frames, seconds)
    }
}
