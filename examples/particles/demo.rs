//! A scene, an exchange, and the two sides that share it: everything of a run but where its frames go.
#![allow(unsafe_code)] // Submits recorded frames.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context, Result};
use bridge::ash::vk;
use bridge::vk_export::{LocalBuffer, Validation};
use bridge::{
    Backend, BufferSpec, Compute, Exchange, ExchangeInfo, ExportDevice, OpenInfo, RenderTurn, SubmitInfo, TimelinePoint,
};
use bridge_examples::particles::options::{self, Options};
use bridge_examples::particles::particle::Particle;
use bridge_examples::particles::scene::{Scene, SceneInfo};
use bridge_examples::picture::Picture;

use crate::compute::{Mover, Shared};
use crate::render::{CONSUMER, Renderer, Wanted};

/// How long a frame may take: so much, and so much for each particle and each pixel, which is plenty for a software
/// rasteriser.
const PATIENCE: Duration = Duration::from_secs(20);
const PATIENCE_PER_PARTICLE: Duration = Duration::from_micros(20);
const PATIENCE_PER_PIXEL: Duration = Duration::from_micros(1);

/// A run.
pub(crate) struct Demo {
    // Field order is drop order: dropping the exchange waits for the frames in flight, which use what comes after it.
    exchange: Exchange<Shared>,
    pub(crate) renderer: Renderer,
    mover: Mover,
    in_flight: VecDeque<InFlight>,
    next: u64,
    pub(crate) scene: Scene,
    pub(crate) size: [u32; 2],
    pub(crate) point_limit: f32,
    patience: Duration,
    compute: Compute,
    pub(crate) device: ExportDevice,
}

/// A frame that the GPU works on.
#[derive(Clone, Debug)]
pub(crate) struct InFlight {
    pub(crate) frame: u64,
    pub(crate) slot: usize,
    rendered: TimelinePoint,
}

impl Demo {
    /// Opens the device and sets everything up. `open` says what a window needs of it.
    pub(crate) fn new(options: &Options, picture: Option<Picture>, open: &OpenInfo<'_>) -> Result<Self> {
        let gpu = options.gpu.as_deref().map(str::parse).transpose()?.unwrap_or_default();
        let open = OpenInfo {
            application_name: "particles",
            device: gpu,
            validation: if options.validate { Validation::Required } else { Validation::Off },
            features: vk::PhysicalDeviceFeatures { large_points: vk::TRUE, ..Default::default() },
            dynamic_rendering: true,
            ..open.clone()
        };
        let device = ExportDevice::open(&open)?;
        let backend = match options.backend {
            options::Backend::Auto => Backend::Auto,
            options::Backend::Cuda => Backend::Cuda,
            options::Backend::Host => Backend::Host,
        };
        let compute = Compute::new(&device, backend)?;
        let size = [options.size.width, options.size.height];
        let point_limit = device.physical().limits.point_size_range[1];
        let scene = Scene::new(SceneInfo {
            picture,
            seed: options.seed,
            frames: options.story(),
            size,
            particles: options.particles_on(compute.cuda().is_some()),
            point_limit,
        });
        let slots = options.slots as usize;
        let patience = PATIENCE + PATIENCE_PER_PARTICLE * scene.particles() + PATIENCE_PER_PIXEL * (size[0] * size[1]);
        let info = ExchangeInfo { name: "particles", slots, timeout: patience, ..Default::default() };
        let spec = BufferSpec::<Particle>::new(scene.particles() as usize, CONSUMER);
        Ok(Self {
            exchange: Exchange::new(&compute, &info, spec)?,
            renderer: Renderer::new(&device, scene.look(), scene.particles(), size, slots)?,
            mover: Mover::new(&compute, scene.bodies())?,
            in_flight: VecDeque::with_capacity(slots),
            next: 0,
            scene,
            size,
            point_limit,
            patience,
            compute,
            device,
        })
    }

    /// The compute side.
    pub(crate) fn compute(&self) -> &Compute {
        &self.compute
    }

    /// How many frames have been begun.
    pub(crate) fn frames(&self) -> u64 {
        self.next
    }

    /// The slot of the next frame; its last frame is done after [`make_room`](Self::make_room).
    pub(crate) fn next_slot(&self) -> usize {
        (self.next % self.exchange.slots() as u64) as usize
    }

    /// When all slots are in flight, waits for the oldest and gives it back; its read-back buffers can be read until
    /// the next frame.
    pub(crate) fn make_room(&mut self) -> Result<Option<InFlight>> {
        if self.in_flight.len() < self.exchange.slots() { Ok(None) } else { self.finish_oldest() }
    }

    /// Waits for the oldest frame in flight, if there is one, and gives it back.
    pub(crate) fn finish_oldest(&mut self) -> Result<Option<InFlight>> {
        let Some(oldest) = self.in_flight.pop_front() else { return Ok(None) };
        oldest.rendered.wait(self.patience)?;
        Ok(Some(oldest))
    }

    /// Computes and draws the next frame; waits for neither. There is room, see [`make_room`](Self::make_room).
    ///
    /// # Safety
    /// `wanted` and the semaphores in `submit` are good until the frame is done: window images and their semaphores are
    /// acquired for this frame, and the buffer for the particles is not read before.
    pub(crate) unsafe fn frame(&mut self, wanted: Wanted<'_>, submit: SubmitInfo<'_>) -> Result<u64> {
        let frame = self.next;
        let mut turn = self.exchange.begin()?;
        self.mover.advance(&mut turn, &self.scene.step(frame))?;
        let turn = turn.finish()?;
        self.next += 1;
        // SAFETY: handed on to the caller.
        unsafe { self.submit(turn, wanted, submit) }.with_context(|| format!("frame {frame}"))?;
        Ok(frame)
    }

    /// # Safety
    /// As [`frame`](Self::frame).
    unsafe fn submit(&mut self, turn: RenderTurn<Shared>, wanted: Wanted<'_>, submit: SubmitInfo<'_>) -> Result<()> {
        let (frame, slot) = (turn.frame(), turn.slot());
        let view = self.scene.view(frame, self.size, self.point_limit);
        if wanted.window.is_some() {
            turn.prepare_present()?;
        }
        // SAFETY: the slot's last frame was waited for by `make_room`.
        let commands = unsafe { self.renderer.record(&turn, &view, wanted) }?;
        let submit = SubmitInfo { commands: &[commands], ..submit };
        // SAFETY: the commands were recorded for this turn between its barriers, for the device's own queue; what they
        // use is freed after the exchange, which waits for them.
        let rendered = unsafe { turn.submit_with(self.device.queue(), &submit) }?;
        self.in_flight.push_back(InFlight { frame, slot, rendered });
        Ok(())
    }

    /// A buffer that all particles can be read back to.
    pub(crate) fn particle_buffer(&self) -> Result<LocalBuffer> {
        let size = u64::from(self.scene.particles()) * size_of::<Particle>() as u64;
        crate::render::read_back(&self.device, "particles read back", size)
    }
}
