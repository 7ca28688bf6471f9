//! The texture and the filter: a submission of the engine waits for the compute side.

use std::sync::{Arc, Mutex};

use anyhow::{Error, Result};
use ash::vk;
use bridge::{Backend, BufferAccess, BufferSpec, Compute, Exchange, ExchangeInfo};
use engine_core::recorder::Recorder;
use engine_core::system::Semaphores;
use engine_core::{Captured, Outcome, Pass, System};
use engine_example::check::{Checker, Systems};
use engine_example::filter::Filter;
use engine_example::painting::{Painting, SIDE, texel};
use engine_example::script::World;

use crate::common;
use crate::gate::Gate;

/// The number of frames that fill the slots: the exchanges of the engine have three.
const BEFORE: u64 = 3;

/// Holds the compute side.
struct Holder(Exchange<BufferSpec<u32>>);

impl Holder {
    fn new(compute: &Compute) -> Result<Self> {
        let info = ExchangeInfo { name: "gate", slots: 1, ..ExchangeInfo::default() };
        Ok(Self(Exchange::new(compute, &info, BufferSpec::new(1, BufferAccess::TRANSFER_READ))?))
    }

    /// Makes all work that is enqueued from now on wait for the gate.
    fn hold(&mut self) -> Result<Gate> {
        let mut turn = self.0.begin()?;
        let gate = Gate::hold(turn.work());
        turn.finish()?.skip();
        Ok(gate)
    }
}

/// The events of the next frame.
#[derive(Default)]
struct Next {
    /// `true` if the compute side is to be held.
    holds: bool,
    /// The gate that holds it.
    gate: Option<Gate>,
    /// `true` if the engine omits the wait for the compute side.
    leaves_out: bool,
}

/// A system whose compute side is held, and whose wait may be omitted, which is deliberately wrong.
struct Held {
    inner: Box<dyn System>,
    /// The pass that waits for the compute side.
    waits_in: Pass,
    holder: Holder,
    next: Arc<Mutex<Next>>,
}

impl Held {
    /// Called immediately before `inner` enqueues the work that the pass waits for.
    fn hold(&mut self) -> Result<()> {
        let mut next = self.next.lock().unwrap();
        if std::mem::take(&mut next.holds) {
            next.gate = Some(self.holder.hold()?);
        }
        Ok(())
    }
}

// SAFETY: as `inner`; if a wait is omitted, images of plain texels in the right layout are read too
// early, which gives wrong data but no other error.
unsafe impl System for Held {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn resize(&mut self, extent: vk::Extent2D) -> Result<()> {
        self.inner.resize(extent)
    }

    fn begin(&mut self, frame: u64) -> Result<()> {
        if self.waits_in == Pass::Scene {
            self.hold()?;
        }
        self.inner.begin(frame)
    }

    fn before(&mut self, pass: Pass, recorder: &mut Recorder<'_>) {
        self.inner.before(pass, recorder);
    }

    fn draw(&mut self, pass: Pass, recorder: &mut Recorder<'_>) {
        self.inner.draw(pass, recorder);
    }

    fn after(&mut self, pass: Pass, recorder: &mut Recorder<'_>) {
        self.inner.after(pass, recorder);
    }

    fn semaphores(&self, pass: Pass, semaphores: &mut Semaphores) {
        let mut all = Semaphores::default();
        self.inner.semaphores(pass, &mut all);
        if !(self.waits_in == pass && self.next.lock().unwrap().leaves_out) {
            semaphores.waits.append(&mut all.waits);
        }
        semaphores.signals.append(&mut all.signals);
    }

    fn prepare_present(&mut self, pass: Pass) -> Result<()> {
        self.inner.prepare_present(pass)
    }

    fn submitted(&mut self, pass: Pass, accepted: bool) -> Result<()> {
        // The filter begins after the scene.
        if pass == Pass::Scene && self.waits_in == Pass::Picture {
            self.hold()?;
        }
        self.inner.submitted(pass, accepted)
    }

    fn picture(&self) -> Option<(vk::ImageView, vk::ImageLayout)> {
        self.inner.picture()
    }
}

/// Draws frames that fill all slots, and one more whose compute side is held until the frame is
/// submitted, or until the frame has run without its wait.
fn frames(world: &mut World, next: &Mutex<Next>, leaves_out: bool) -> Vec<Captured> {
    for _ in 0..BEFORE {
        assert_eq!(world.engine.frame(true).unwrap(), Outcome::Drawn);
    }
    world.engine.wait().unwrap();
    *next.lock().unwrap() = Next { holds: true, gate: None, leaves_out };
    assert_eq!(world.engine.frame(true).unwrap(), Outcome::Drawn);
    let gate = next.lock().unwrap().gate.take().expect("nothing was held");
    if leaves_out {
        world.engine.wait().unwrap();
        gate.open();
    } else {
        gate.open();
        world.engine.wait().unwrap();
    }
    world.engine.finished()
}

/// Draws the painting, with or without the filter; the compute side of the last system is held.
fn run(backend: Backend, filter: bool, leaves_out: bool) -> Option<(Vec<Captured>, Systems)> {
    let mut world = common::world(backend)?;
    world.engine.resize([160, 90]).unwrap();
    let painting: Box<dyn System> = Box::new(Painting::new(world.engine.gpu(), &world.compute).unwrap());
    let (inner, waits_in): (Box<dyn System>, _) = if filter {
        world.engine.add(painting).unwrap();
        (Box::new(Filter::new(&world.compute)), Pass::Picture)
    } else {
        (painting, Pass::Scene)
    };
    let next = Arc::<Mutex<Next>>::default();
    let holder = Holder::new(&world.compute).unwrap();
    world.engine.add(Box::new(Held { inner, waits_in, holder, next: Arc::clone(&next) })).unwrap();
    world.systems = Systems { particles: false, painting: true, filter };
    let (frames, systems) = (frames(&mut world, &next, leaves_out), world.systems);
    assert_eq!(frames.iter().map(|frame| frame.frame).collect::<Vec<_>>(), (0..=BEFORE).collect::<Vec<_>>());
    Some((frames, systems))
}

/// Returns the result of the self-check for the last frame; the frames before it must be right.
fn check(frames: &[Captured], systems: Systems) -> Result<(), Error> {
    let mut checker = Checker::default();
    let (last, before) = frames.split_last().unwrap();
    before.iter().for_each(|frame| checker.check(frame, systems).unwrap());
    checker.check(last, systems)
}

#[test]
fn the_scene_waits_for_a_texture_that_is_late() {
    let _alone = crate::serialize();
    for backend in common::BACKENDS {
        let Some((frames, systems)) = run(backend, false, false) else { return };
        check(&frames, systems).unwrap();
    }
}

/// The negative control of the test above.
#[test]
fn without_its_wait_the_scene_shows_a_stale_texture() {
    let _alone = crate::serialize();
    for backend in common::BACKENDS {
        let Some((frames, systems)) = run(backend, false, true) else { return };
        let error = format!("{:#}", check(&frames, systems).unwrap_err());
        let (stale, wanted) = (texel(0, 0, 0), texel(0, 0, BEFORE as u32));
        assert!(error.contains(&format!("texel 0, 0 of the texture is {stale:?}, not {wanted:?}")), "{error}");
        let painted: Vec<u8> = (0..SIDE * SIDE).flat_map(|at| texel(at % SIDE, at / SIDE, 0)).collect();
        assert!(frames[3].sample(Painting::NAME) == painted, "it has to be the texture of frame 0");
        assert!(frames[3].sample("scene") == frames[0].sample("scene"), "and on its panel");
    }
}

#[test]
fn the_picture_waits_for_a_filter_that_is_late() {
    let _alone = crate::serialize();
    for backend in common::BACKENDS {
        let Some((frames, systems)) = run(backend, true, false) else { return };
        check(&frames, systems).unwrap();
    }
}

/// The negative control of the test above.
#[test]
fn without_its_wait_the_picture_is_a_stale_scene_filtered() {
    let _alone = crate::serialize();
    for backend in common::BACKENDS {
        let Some((frames, systems)) = run(backend, true, true) else { return };
        let error = format!("{:#}", check(&frames, systems).unwrap_err());
        assert!(error.contains("of the picture is not the filtered scene"), "{error}");
        assert!(frames[3].sample("picture") == frames[0].sample("picture"), "it has to be that of frame 0");
        assert!(frames[3].sample("scene") != frames[0].sample("scene"), "of which the scene was another");
    }
}
