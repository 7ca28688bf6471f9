//! The simulation and the engine's loop at different rates: states are complete, none is older than
//! the last, and neither side waits for the other. The tests control the simulation's clock, so
//! they pass on slow machines as well.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bridge::Backend;
use engine_example::check::Checker;
use engine_example::particles::{Clock, Particles};
use engine_example::script::{Report, Script, World, run_by};

mod common;

/// The timeout of every event that is expected.
const LIMIT: Duration = Duration::from_secs(60);

/// A clock that the test advances.
#[derive(Clone, Default)]
struct Hand(Arc<Steps>);

#[derive(Default)]
struct Steps {
    due: AtomicU32,
    made: AtomicU32,
}

impl Clock for Hand {
    fn due(&mut self, made: u32) -> u32 {
        self.0.made.store(made, Ordering::SeqCst);
        self.0.due.load(Ordering::SeqCst)
    }

    fn pause(&self) {
        std::thread::sleep(Duration::from_micros(100));
    }
}

impl Hand {
    /// Advances the clock by `steps` steps, and waits for each before the next; returns the last
    /// one.
    fn step(&self, steps: u32) -> u32 {
        let begun = Instant::now();
        for _ in 0..steps {
            let due = self.0.due.fetch_add(1, Ordering::SeqCst) + 1;
            while self.0.made.load(Ordering::SeqCst) < due {
                assert!(begun.elapsed() < LIMIT, "the simulation waits before step {due}");
                std::thread::sleep(Duration::from_micros(100));
            }
        }
        self.0.due.load(Ordering::SeqCst)
    }
}

/// Draws frames; returns the step that each frame showed.
fn steps(world: &mut World, checker: &mut Checker, frames: usize) -> Vec<u32> {
    let (systems, before) = (world.systems, checker.steps.len());
    for _ in 0..frames {
        world.engine.frame(true).unwrap();
        for captured in world.engine.finished() {
            checker.check(&captured, systems).unwrap();
        }
    }
    world.engine.wait().unwrap();
    for captured in world.engine.finished() {
        checker.check(&captured, systems).unwrap();
    }
    checker.steps[before..].to_vec()
}

/// Draws frames until one shows the step, which may still be in progress.
fn draw_until_shown(world: &mut World, checker: &mut Checker, step: u32) {
    let begun = Instant::now();
    while steps(world, checker, 1).last() != Some(&step) {
        assert!(begun.elapsed() < LIMIT, "step {step} is never shown; {:?}", checker.steps.last());
    }
}

#[test]
fn either_side_may_be_slower() {
    common::BACKENDS.into_iter().for_each(rates);
}

fn rates(backend: Backend) {
    let Some(mut world) = common::world(backend) else { return };
    world.engine.resize([160, 90]).unwrap();
    // The simulation does not advance while the loop runs as fast as it can: its state is drawn
    // repeatedly.
    let clock = Hand::default();
    world.add_particles_by(clock.clone()).unwrap();
    let checker = &mut Checker::default();
    assert!(steps(&mut world, checker, 3).is_empty(), "there is no state before the first step");
    for _ in 0..3 {
        let step = clock.step(1);
        draw_until_shown(&mut world, checker, step);
        assert_eq!(steps(&mut world, checker, 10), [step; 10]);
    }
    world.remove(Particles::NAME).unwrap();

    // The loop does not run while the simulation advances, by more steps than an exchange has
    // slots: the next frames show the newest step.
    let clock = Hand::default();
    world.add_particles_by(clock.clone()).unwrap();
    let checker = &mut Checker::default();
    for pause in [1, 7, 7, 7, 100] {
        let step = clock.step(pause);
        draw_until_shown(&mut world, checker, step);
    }
    assert!(checker.steps.is_sorted(), "{:?}", checker.steps);
    let messages = world.messages.clone();
    drop(world);
    assert!(messages.snapshot().is_empty(), "{:#?}", messages.snapshot());
}

/// A clock of single steps, which stops after the last one.
struct Slow {
    pause: Duration,
    last: u32,
}

impl Clock for Slow {
    fn due(&mut self, made: u32) -> u32 {
        self.last.min(made + 1)
    }

    fn pause(&self) {
        std::thread::sleep(self.pause);
    }
}

/// Runs the script on the CPU with a slow simulation. Returns `None` if this machine cannot.
fn run_script(simulation: impl Fn() -> Slow, limit: Duration) -> Option<anyhow::Result<Report>> {
    common::world(Backend::Host)?;
    let script = Script { frames: 30, size: [160, 90], backend: Backend::Host, gpu: None, validate: false };
    Some(run_by(&script, None, &simulation, limit))
}

#[test]
fn the_script_waits_for_a_slow_simulation() {
    let simulation = || Slow { pause: Duration::from_millis(10), last: u32::MAX };
    if let Some(report) = run_script(simulation, LIMIT) {
        report.unwrap();
    }
}

/// The negative control.
#[test]
fn the_script_fails_if_the_simulation_stops() {
    let simulation = || Slow { pause: Duration::from_micros(100), last: 30 };
    let Some(report) = run_script(simulation, Duration::from_millis(300)) else { return };
    let error = format!("{:#}", report.unwrap_err());
    assert!(error.contains("while the engine paused: the simulation stood still"), "{error}");
}
