//! The engine, its device, its systems and the bridge go in any order. One test: the validation
//! layer is asked after each.
#![allow(unsafe_code, clippy::unwrap_used, reason = "a test that cannot go on ends; a buffer that leaks")]

use std::sync::Arc;

use ash::vk;
use bridge::Backend;
use engine_example::painting::Painting;
use engine_example::script::World;

mod common;

/// Something that is dropped.
type Part = Box<dyn Send>;

#[test]
fn everything_goes_in_any_order() {
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
        // One system is held outside of the engine; the others go with it, in the middle of frames.
        let painting = world.engine.remove(Painting::NAME).unwrap().unwrap();
        world.engine.frame(false).unwrap();
        let gpu = Arc::clone(world.engine.gpu());
        let World { engine, compute, messages, .. } = world;
        let parts: [Part; 4] = [Box::new(engine), Box::new(painting), Box::new(compute), Box::new(gpu)];
        let mut parts = parts.map(Some);
        for part in &order {
            drop(parts[*part].take());
        }
        // The device goes with the last of them, on this thread or the one that frees what the CPU
        // backend has.
        let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while Arc::strong_count(&messages) > 1 {
            assert!(std::time::Instant::now() < end, "{order:?}: the device is never destroyed");
            std::thread::yield_now();
        }
        assert!(messages.snapshot().is_empty(), "{order:?}: {:#?}", messages.snapshot());
    }
}

/// The negative control: what the test above would miss is heard.
#[test]
fn a_buffer_that_outlives_the_device_is_heard() {
    let Some(world) = common::world(Backend::Host) else { return };
    let gpu = Arc::clone(world.engine.gpu());
    if gpu.instance_extensions().is_empty() {
        return; // Without the layer nothing is heard, which `world` has said.
    }
    let info = vk::BufferCreateInfo::default().size(16).usage(vk::BufferUsageFlags::TRANSFER_DST);
    // SAFETY: a plain buffer, which is left behind on purpose; the layer frees nothing, nor does
    // anyone use it.
    unsafe { gpu.device().create_buffer(&info, None) }.unwrap();
    let messages = Arc::clone(&world.messages);
    drop((world, gpu));
    let said = messages.snapshot().join("\n");
    assert!(said.contains("VUID-vkDestroyDevice-device-05137"), "{said}");
}

/// All orders of `count` things.
fn orders(count: usize) -> Vec<Vec<usize>> {
    (0..count).fold(vec![vec![]], |shorter, next| {
        let longer = |order: &Vec<usize>| {
            (0..=order.len()).map(|at| [&order[..at], &[next], &order[at..]].concat()).collect::<Vec<_>>()
        };
        shorter.iter().flat_map(longer).collect()
    })
}
