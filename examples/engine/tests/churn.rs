//! Systems that are added and removed while the engine runs. There is only one test, because live
//! objects are counted per process.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::time::{Duration, Instant};

use bridge::{Backend, LiveObjects};
use engine_example::filter::Filter;
use engine_example::painting::Painting;
use engine_example::particles::Particles;
use engine_example::script::World;
use test_support::open_descriptors;

mod common;

/// The environment variable for a number of rounds other than the default.
const ROUNDS: &str = "ENGINE_CHURN_ROUNDS";
/// The timeout for the release of objects that are still being freed.
const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn systems_are_added_and_removed_a_hundred_times_and_leave_nothing() {
    common::BACKENDS.into_iter().for_each(add_and_remove_often);
}

fn add_and_remove_often(backend: Backend) {
    let Some(mut world) = common::world(backend) else { return };
    world.engine.resize([160, 90]).unwrap();
    world.engine.frame(false).unwrap();
    // Objects that are created once and kept are not a leak.
    add_and_remove(&mut world);
    let (objects, descriptors) = (settled(&world), open_descriptors());
    let rounds = std::env::var(ROUNDS).ok().map_or(100, |rounds| rounds.parse().unwrap());
    for _ in 0..rounds {
        add_and_remove(&mut world);
    }
    assert_eq!(settled(&world), objects);
    // Resources that are freed on other threads may close a descriptor later.
    let end = Instant::now() + LIMIT;
    while open_descriptors() != descriptors {
        assert!(Instant::now() < end, "{} descriptors are open, not {descriptors}", open_descriptors());
        std::thread::sleep(Duration::from_millis(1));
    }
    let messages = world.messages.clone();
    drop(world);
    assert!(messages.snapshot().is_empty(), "{:#?}", messages.snapshot());
}

/// Draws frames with all systems, and removes one system after each frame.
fn add_and_remove(world: &mut World) {
    world.add_particles().unwrap();
    world.add_painting().unwrap();
    world.add_filter().unwrap();
    for name in [Painting::NAME, Filter::NAME, Particles::NAME] {
        world.engine.frame(false).unwrap();
        world.remove(name).unwrap();
    }
    world.engine.frame(false).unwrap();
}

/// Returns the live objects and the allocated bytes once no shared memory and no exchange is left.
fn settled(world: &World) -> (LiveObjects, u64) {
    let end = Instant::now() + LIMIT;
    loop {
        let (live, bytes) = (LiveObjects::now(), world.compute.device().allocated_bytes());
        if bytes.allocations == 0 && live.exchanges == 0 {
            return (live, bytes.total);
        }
        assert!(Instant::now() < end, "{live:?} and {bytes:?} are left");
        std::thread::sleep(Duration::from_millis(1));
    }
}
