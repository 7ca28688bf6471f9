//! The simulation and the engine's loop at different rates: whole states, none older than the last,
//! and neither waits for the other.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::time::{Duration, Instant};

use bridge::Backend;
use engine_example::check::Checker;
use engine_example::script::World;

mod common;

/// Draws frames with a pause behind each; gives the step that each frame showed, and the seconds
/// that they took.
fn steps(world: &mut World, frames: usize, pause: Duration) -> (Vec<u32>, f64) {
    let (mut checker, systems) = (Checker::default(), world.systems);
    let begun = Instant::now();
    for _ in 0..frames {
        world.engine.frame(true).unwrap();
        for captured in world.engine.finished() {
            checker.check(&captured, systems).unwrap();
        }
        std::thread::sleep(pause);
    }
    world.engine.wait().unwrap();
    for captured in world.engine.finished() {
        checker.check(&captured, systems).unwrap();
    }
    (checker.steps, begun.elapsed().as_secs_f64())
}

fn distinct(steps: &[u32]) -> usize {
    let mut distinct = steps.to_vec();
    distinct.dedup();
    distinct.len()
}

#[test]
fn either_side_may_be_the_slower_one() {
    common::BACKENDS.into_iter().for_each(rates);
}

fn rates(backend: Backend) {
    let Some(mut world) = common::world(backend) else { return };
    world.engine.resize([160, 90]).unwrap();
    // 4 steps a second under a loop that goes round as fast as it can: states are drawn again and
    // again.
    world.add_particles_at(4).unwrap();
    while steps(&mut world, 1, Duration::from_millis(1)).0.is_empty() {}
    let (slow, seconds) = steps(&mut world, 40, Duration::ZERO);
    let most = (seconds * 4.0) as usize + 3;
    assert!(slow.len() == 40 && distinct(&slow) <= most, "{} states in {seconds} s: {slow:?}", distinct(&slow));
    world.remove("particles").unwrap();

    // 400 steps a second under a loop of 60 frames a second that stands still for most of the time:
    // each frame has a later state.
    world.add_particles_at(400).unwrap();
    while steps(&mut world, 1, Duration::from_millis(1)).0.is_empty() {}
    let (fast, seconds) = steps(&mut world, 40, Duration::from_micros(16_667));
    let passed = fast.last().unwrap() - fast[0];
    assert!(distinct(&fast) > fast.len() / 2 && fast.is_sorted(), "{fast:?}");
    // Half of what a clock without other work would make of the 39 pauses; no faster than it, but
    // for what the first state was late.
    assert!(passed >= 39 * 3 && f64::from(passed) <= seconds * 400.0 + 100.0, "{passed} steps in {seconds} s");

    // A second without a frame: the simulation goes on, and the next frame shows where it is.
    std::thread::sleep(Duration::from_secs(1));
    let (after, _) = steps(&mut world, 1, Duration::ZERO);
    assert!(after[0] - fast.last().unwrap() >= 200, "{after:?} behind {fast:?}");
    let messages = world.messages.clone();
    drop(world);
    assert!(messages.snapshot().is_empty(), "{:#?}", messages.snapshot());
}
