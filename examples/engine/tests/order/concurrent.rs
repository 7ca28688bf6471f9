//! Another thread of the engine submits to the same queue during all frames.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use ash::vk;
use bridge::Backend;
use engine_example::check::Checker;
use engine_example::script::World;

use crate::common;

/// Stops the other thread, also if the test fails.
struct Stops<'a>(&'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Draws frames and checks each of them.
fn draw(world: &mut World, checker: &mut Checker) {
    for _ in 0..5 {
        world.engine.frame(true).unwrap();
    }
    world.engine.wait().unwrap();
    let systems = world.systems;
    world.engine.finished().iter().for_each(|frame| checker.check(frame, systems).unwrap());
}

#[test]
fn another_thread_may_submit_concurrently() {
    let _alone = crate::serialize();
    common::BACKENDS.into_iter().for_each(submit_concurrently);
}

fn submit_concurrently(backend: Backend) {
    let Some(mut world) = common::world(backend) else { return };
    let (gpu, stop, submitted) = (Arc::clone(world.engine.gpu()), AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                // SAFETY: an empty batch.
                unsafe { gpu.queue().submit(gpu.device(), vk::SubmitInfo2::default(), vk::Fence::null()) }.unwrap();
                submitted.fetch_add(1, Ordering::Relaxed);
                std::thread::yield_now();
            }
        });
        let _stops = Stops(&stop);
        // Exchanges are created, used, resized and dropped while the other thread submits.
        for size in [[160, 90], [100, 80], [160, 90]] {
            world.engine.resize(size).unwrap();
            world.add_particles().unwrap();
            world.add_painting().unwrap();
            world.add_filter().unwrap();
            let mut checker = Checker::default();
            draw(&mut world, &mut checker);
            world.engine.resize([120, 100]).unwrap();
            draw(&mut world, &mut checker);
            world.remove("painting").unwrap();
            draw(&mut world, &mut checker);
            assert!(checker.checks >= 15, "{} checks", checker.checks);
            world.remove("filter").unwrap();
            world.remove("particles").unwrap();
            let before = submitted.load(Ordering::Relaxed);
            while submitted.load(Ordering::Relaxed) == before {
                std::thread::yield_now();
            }
        }
    });
    let messages = Arc::clone(&world.messages);
    drop((world, gpu));
    assert!(messages.snapshot().is_empty(), "{:#?}", messages.snapshot());
}
