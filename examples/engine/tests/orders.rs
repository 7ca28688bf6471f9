//! The engine, its device, its systems and the bridge can be dropped in any order. There is only
//! one test of orders, because the validation layer is checked after each.
#![allow(unsafe_code, clippy::unwrap_used, reason = "a test that cannot go on ends; a buffer that leaks")]

use std::sync::Arc;

use ash::vk;
use bridge::Backend;
use engine_example::painting::Painting;
use engine_example::script::World;

mod common;

/// An object that is dropped.
type Part = Box<dyn Send>;

#[test]
fn everything_is_dropped_in_any_order() {
    common::BACKENDS.into_iter().for_each(all_orders);
}

fn all_orders(backend: Backend) {
    for order in orders(4) {
        let Some(mut world) = common::world(backend) else { return };
        world.engine.resize([160, 90]).unwrap();
        world.add_particles().unwrap();
        world.add_painting().unwrap();
        world.add_filter().unwrap();
        for _ in 0..3 {
            world.engine.frame(false).unwrap();
        }
        // One system is held outside of the engine; the others are dropped with it, while frames
        // are in flight.
        let painting = world.engine.remove(Painting::NAME).unwrap().unwrap();
        world.engine.frame(false).unwrap();
        let gpu = Arc::clone(world.engine.gpu());
        let World { engine, compute, messages, .. } = world;
        let parts: [Part; 4] = [Box::new(engine), Box::new(painting), Box::new(compute), Box::new(gpu)];
        let mut parts = parts.map(Some);
        for part in &order {
            drop(parts[*part].take());
        }
        // The device is destroyed with the last of them, on this thread or on the thread that frees
        // the resources of the CPU backend.
        let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while Arc::strong_count(&messages) > 1 {
            assert!(std::time::Instant::now() < end, "{order:?}: the device is never destroyed");
            std::thread::yield_now();
        }
        assert!(messages.snapshot().is_empty(), "{order:?}: {:#?}", messages.snapshot());
    }
}

/// The negative control: the validation layer reports an error of the kind that the test above
/// checks for.
#[test]
fn a_buffer_that_outlives_the_device_is_reported() {
    let Some(world) = common::world(Backend::Host) else { return };
    let gpu = Arc::clone(world.engine.gpu());
    if gpu.instance_extensions().is_empty() {
        return; // Without the layer nothing is reported, which `world` has printed.
    }
    let info = vk::BufferCreateInfo::default().size(16).usage(vk::BufferUsageFlags::TRANSFER_DST);
    // SAFETY: a plain buffer, which is leaked on purpose; the layer does not free it, and nothing
    // uses it.
    unsafe { gpu.device().create_buffer(&info, None) }.unwrap();
    let messages = Arc::clone(&world.messages);
    drop((world, gpu));
    let said = messages.snapshot().join("\n");
    assert!(said.contains("VUID-vkDestroyDevice-device-05137"), "{said}");
}

/// Returns all orders of `count` items.
fn orders(count: usize) -> Vec<Vec<usize>> {
    (0..count).fold(vec![vec![]], |shorter, next| {
        let longer = |order: &Vec<usize>| {
            (0..=order.len()).map(|at| [&order[..at], &[next], &order[at..]].concat()).collect::<Vec<_>>()
        };
        shorter.iter().flat_map(longer).collect()
    })
}
