//! A run without a window: the engine pauses, is resized and minimized, and its systems are removed
//! and added again, while it checks its own frames.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bridge::{Backend, Compute};
use bridge_examples::shader::spirv;
use engine_core::gpu::Messages;
use engine_core::{Captured, Engine, Gpu, GpuInfo, Outcome};

use crate::adopt;
use crate::check::{Checker, Systems};
use crate::filter::Filter;
use crate::painting::Painting;
use crate::particles::progress::Progress;
use crate::particles::{Clock, Particles, RATE, Steady};

/// The states that the simulation publishes while the loop pauses: several times the slots of its
/// exchange.
const PAUSE: u64 = 40;
/// The timeout of what the simulation does in a pause.
const LIMIT: Duration = Duration::from_secs(60);

/// Configuration of a run.
#[derive(Clone, Debug)]
pub struct Script {
    /// The number of frames.
    pub frames: u64,
    /// Width and height of a frame, in pixels.
    pub size: [u32; 2],
    /// The backend that computes.
    pub backend: Backend,
    /// A part of the Vulkan device's name.
    pub gpu: Option<String>,
    /// Whether to enable the validation layer.
    pub validate: bool,
}

/// An engine and the compute side of the bridge.
pub struct World {
    // Field order is drop order, which is not relevant here (see `tests/orders.rs`): every object
    // keeps its dependencies alive.
    /// The engine.
    pub engine: Engine,
    /// The compute side.
    pub compute: Compute,
    /// The active systems.
    pub systems: Systems,
    /// The progress of the particles that were added last.
    progress: Arc<Progress>,
    /// Messages of the validation layer.
    pub messages: Arc<Messages>,
}

/// The outcome of a run.
#[derive(Debug)]
pub struct Report {
    /// The device, the backend that computed, and why.
    pub machine: String,
    /// The number of frames that were drawn.
    pub drawn: u64,
    /// The number of frames that were checked.
    pub checked: usize,
    /// The number of checks that passed.
    pub checks: u64,
    /// The number of different states of the particles in the checked frames.
    pub states: usize,
    /// The bytes of memory that the bridge allocated for all systems.
    pub shared_bytes: u64,
}

impl World {
    /// Creates an engine without systems; `window` contains the instance extensions of a window.
    ///
    /// # Errors
    /// A required resource is not available.
    pub fn new(script: &Script, window: &[&'static std::ffi::CStr]) -> Result<Self> {
        let info = GpuInfo {
            name: script.gpu.as_deref(),
            validation: script.validate,
            window,
            extension_request: &adopt::extensions,
        };
        let gpu = Gpu::new(&info)?;
        let compute = adopt::compute(&gpu, script.backend)?;
        let engine = Engine::new(&gpu, 2, [&spirv("screen.vert")?, &spirv("copy.frag")?])?;
        let (systems, progress) = (Systems::default(), Arc::default());
        Ok(Self { engine, compute, systems, progress, messages: Arc::clone(gpu.messages()) })
    }

    /// Adds the particles, at [`RATE`].
    ///
    /// # Errors
    /// A required resource is not available.
    pub fn add_particles(&mut self) -> Result<()> {
        self.add_particles_by(Steady::new(RATE))
    }

    /// Adds the particles, with a simulation that follows the clock.
    ///
    /// # Errors
    /// As above.
    pub fn add_particles_by(&mut self, clock: impl Clock) -> Result<()> {
        let particles = Particles::new(self.engine.gpu(), &self.compute, clock)?;
        self.systems.particles = true;
        self.progress = Arc::clone(particles.progress());
        self.engine.add(Box::new(particles))
    }

    /// Adds the painted texture.
    ///
    /// # Errors
    /// As above.
    pub fn add_painting(&mut self) -> Result<()> {
        let painting = Painting::new(self.engine.gpu(), &self.compute)?;
        self.systems.painting = true;
        self.engine.add(Box::new(painting))
    }

    /// Adds the filter.
    ///
    /// # Errors
    /// As above.
    pub fn add_filter(&mut self) -> Result<()> {
        self.systems.filter = true;
        self.engine.add(Box::new(Filter::new(&self.compute)))
    }

    /// Removes and drops a system.
    ///
    /// # Errors
    /// There is no such system.
    pub fn remove(&mut self, name: &str) -> Result<()> {
        let removed = self.engine.remove(name)?.with_context(|| format!("there is no system {name}"))?;
        drop(removed);
        match name {
            Particles::NAME => self.systems.particles = false,
            Painting::NAME => self.systems.painting = false,
            _ => self.systems.filter = false,
        }
        Ok(())
    }
}

/// An event in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Pause,
    Resize,
    Minimize,
    RemovePainting,
    AddPainting,
    RemoveFilter,
    AddFilter,
    RemoveParticles,
    AddParticles,
}

/// The times of the events, in hundredths of the run.
const EVENTS: [(u64, Event); 9] = [
    (10, Event::Pause),
    (20, Event::Resize),
    (30, Event::Minimize),
    (40, Event::RemovePainting),
    (50, Event::AddPainting),
    (60, Event::RemoveFilter),
    (70, Event::AddFilter),
    (80, Event::RemoveParticles),
    (85, Event::AddParticles),
];

/// Runs the script; writes pictures of some frames to `out`.
///
/// # Errors
/// The error of a step, a wrong frame, or a message of the validation layer.
pub fn run(script: &Script, out: Option<&Path>) -> Result<Report> {
    run_by(script, out, &|| Steady::new(RATE), LIMIT)
}

/// As [`run`], with a simulation that follows the clock, and a limit for what it does in a pause.
///
/// # Errors
/// As above.
pub fn run_by<C: Clock>(script: &Script, out: Option<&Path>, clock: &dyn Fn() -> C, limit: Duration) -> Result<Report> {
    let mut world = World::new(script, &[])?;
    let compute = &world.compute;
    let machine =
        format!("renders on {}, computes on {} ({})", compute.device().name(), compute.backend(), compute.reason());
    world.engine.resize(script.size)?;
    // The filter processes the output of the other systems; the panel is drawn over the particles.
    world.add_particles_by(clock())?;
    world.add_painting()?;
    world.add_filter()?;
    let shared_bytes = world.compute.device().allocated_bytes().total;

    let mut run = Run { checker: Checker::default(), made_with: BTreeMap::new(), checked: 0, drawn: 0, out };
    let mut events = EVENTS.iter().map(|(part, event)| (part * script.frames / 100, *event)).peekable();
    let every = (script.frames / 40).max(1);
    for frame in 0..script.frames {
        let mut is_new = false;
        while let Some((_, event)) = events.next_if(|(at, _)| *at <= frame) {
            is_new = true;
            log::info!("frame {}: {event:?}", world.engine.frames());
            match event {
                Event::Pause => run.pause(&mut world, limit)?,
                Event::AddParticles => run.add_particles(&mut world, clock())?,
                _ => world.apply_event(event, script)?,
            }
        }
        run.frame(&mut world, is_new || frame.is_multiple_of(every) || frame + 1 == script.frames)?;
    }
    world.engine.wait()?;
    run.collect(&mut world)?;
    ensure!(run.made_with.is_empty(), "{} frames that should have been sampled were not", run.made_with.len());
    let messages = Arc::clone(&world.messages);
    drop(world);
    engine_core::engine::check_messages(&messages.snapshot())?;
    let mut states = run.checker.steps.clone();
    states.dedup();
    let Run { checker, checked, drawn, .. } = run;
    Ok(Report { machine, drawn, checked, checks: checker.checks, states: states.len(), shared_bytes })
}

/// The state of a run.
struct Run<'a> {
    checker: Checker,
    /// Frames that are sampled but not checked yet.
    made_with: BTreeMap<u64, Systems>,
    checked: usize,
    drawn: u64,
    out: Option<&'a Path>,
}

impl Run<'_> {
    fn frame(&mut self, world: &mut World, sampled: bool) -> Result<()> {
        let frame = world.engine.frames();
        let outcome = world.engine.frame(sampled)?;
        ensure!(outcome == Outcome::Drawn, "frame {frame} was not drawn: {outcome:?}");
        self.drawn += 1;
        if sampled {
            self.made_with.insert(frame, world.systems);
        }
        self.collect(world)
    }

    /// Draws a frame and checks it.
    fn frame_now(&mut self, world: &mut World) -> Result<()> {
        self.frame(world, true)?;
        world.engine.wait()?;
        self.collect(world)
    }

    /// Draws nothing while the simulation publishes more states than its exchange has slots, and
    /// then until a frame shows the last of them.
    fn pause(&mut self, world: &mut World, limit: Duration) -> Result<()> {
        self.frame_now(world)?;
        let published = world.progress.wait_for_more(PAUSE, limit).context("while the engine paused")?;
        let begun = Instant::now();
        loop {
            // The state may not be computed yet.
            self.frame_now(world)?;
            let shown = self.checker.steps.last().copied();
            if shown >= Some(published) {
                return Ok(());
            }
            ensure!(begun.elapsed() < limit, "step {published} of a pause is never shown; step {shown:?} is");
        }
    }

    /// Adds the particles again.
    fn add_particles(&mut self, world: &mut World, clock: impl Clock) -> Result<()> {
        world.engine.wait()?;
        self.collect(world)?;
        self.checker.restart_particles();
        // The panel is removed and added again after the particles, so that it is drawn over them.
        world.remove(Painting::NAME)?;
        world.add_particles_by(clock)?;
        world.add_painting()
    }

    /// Checks the frames that are done.
    fn collect(&mut self, world: &mut World) -> Result<()> {
        for captured in world.engine.finished() {
            let systems = self.made_with.remove(&captured.frame).context("a frame that nobody wanted")?;
            self.checker.check(&captured, systems)?;
            self.checked += 1;
            if let Some(out) = self.out {
                write(out, &captured)?;
            }
        }
        Ok(())
    }
}

impl World {
    fn apply_event(&mut self, event: Event, script: &Script) -> Result<()> {
        let [width, height] = script.size;
        let smaller = [width * 3 / 4, height * 3 / 4];
        match event {
            Event::Resize => self.engine.resize(smaller)?,
            Event::Minimize => {
                self.engine.resize([0, 0])?;
                for _ in 0..5 {
                    ensure!(self.engine.frame(true)? == Outcome::Nothing, "a minimized window was drawn to");
                }
                self.engine.resize(smaller)?;
            }
            Event::RemovePainting => self.remove(Painting::NAME)?,
            Event::AddPainting => self.add_painting()?,
            Event::RemoveFilter => self.remove(Filter::NAME)?,
            Event::AddFilter => self.add_filter()?,
            Event::RemoveParticles => self.remove(Particles::NAME)?,
            Event::Pause | Event::AddParticles => unreachable!("these check frames too, see `Run`"),
        }
        Ok(())
    }
}

fn write(out: &Path, captured: &Captured) -> Result<()> {
    let path = out.join(format!("frame_{:05}.png", captured.frame));
    let cannot = || format!("cannot write {}", path.display());
    let file = File::create(&path).with_context(cannot)?;
    let mut encoder = png::Encoder::new(BufWriter::new(file), captured.extent.width, captured.extent.height);
    encoder.set_color(png::ColorType::Rgba);
    let mut writer = encoder.write_header().with_context(cannot)?;
    writer.write_image_data(captured.sample("picture")).with_context(cannot)?;
    writer.finish().with_context(cannot)
}
