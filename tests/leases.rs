//! Leases keep the resources of a slot alive, whatever happens to the exchange.
#![allow(unsafe_code, clippy::unwrap_used)] // Commands on leased resources.

use std::time::Duration;

use bridge::ash::vk;
use bridge::{
    BufferAccess, BufferSpec, Compute, Error, Exchange, ExchangeInfo, ImageAccess, ImageSpec, Lease, LiveObjects,
    QueueKind, SharedPool, SharedPoolInfo,
};
use bridge_tests::{Commands, Gate, Rig, on_both_backends};

on_both_backends!(
    a_lease_outlives_its_exchange,
    replaced_resources_live_as_long_as_their_leases,
    a_leased_part_of_a_pool_is_not_reused,
    a_lease_frees_nothing_that_is_leaked,
);

const LEN: usize = 1024;
type Words = BufferSpec<u32>;
type Both = (Words, Vec<ImageSpec<f32>>);

fn info(slots: usize) -> ExchangeInfo<'static> {
    ExchangeInfo { name: "leased", slots, timeout: Rig::LONG, ..Default::default() }
}

fn words() -> Words {
    Words::new(LEN, BufferAccess::TRANSFER_READ | BufferAccess::TRANSFER_WRITE)
}

/// Submits a fill of a buffer that only a lease keeps alive, and waits. The layer reports a
/// destroyed buffer.
fn fill_leased(rig: &Rig, buffer: vk::Buffer) {
    let device = rig.device();
    let commands = Commands::new(device);
    let raw = commands.begin();
    // SAFETY: recording; the buffer's size is a multiple of four bytes, it may be filled, and it is
    // leased.
    unsafe { device.as_raw().cmd_fill_buffer(raw, buffer, 0, vk::WHOLE_SIZE, 7) };
    commands.end();
    let raw = [raw];
    let submit = [vk::SubmitInfo::default().command_buffers(&raw)];
    let used = device.queue().with(|queue| {
        // SAFETY: a live queue under its lock, and commands of its family.
        unsafe { device.as_raw().queue_submit(queue, &submit, vk::Fence::null()) }.unwrap();
        // SAFETY: as above.
        unsafe { device.as_raw().queue_wait_idle(queue) }.unwrap();
    });
    used.unwrap();
}

/// Returns the number of buffers and images in addition to `before`.
fn additional_objects(before: &LiveObjects) -> (usize, usize) {
    let now = LiveObjects::now();
    (now.buffers - before.buffers, now.images - before.images)
}

fn assert_gone(before: &LiveObjects) {
    assert_eq!(LiveObjects::now(), *before);
}

#[test]
fn a_lease_outlives_its_exchange_in_the_vulkan_queue() {
    let rig = Rig::open();
    a_lease_outlives_its_exchange(&rig, &Compute::inline(rig.device(), QueueKind::Graphics).unwrap());
}

fn a_lease_outlives_its_exchange(rig: &Rig, compute: &Compute) {
    let before = LiveObjects::now();
    let image = || ImageSpec::new(vk::Format::R32_SFLOAT, [16, 16], ImageAccess::TRANSFER_READ);
    let both: Both = (words(), vec![image(), image()]);
    let mut exchange = Exchange::new(compute, &info(2), both).unwrap();

    let early = exchange.lease(0).unwrap();
    let error = exchange.lease(2).unwrap_err();
    assert!(matches!(error, Error::InvalidArgument { .. }) && error.to_string().contains("no slot 2"), "{error}");
    let turn = exchange.begin().unwrap();
    assert_eq!((turn.slot(), turn.lease().slot(), turn.lease().is_same(&early)), (0, 0, true));
    let turn = turn.finish().unwrap();
    assert!(turn.lease().is_same(&early) && !turn.lease().is_same(&exchange.lease(1).unwrap()));
    let buffer = turn.resources().0.as_raw();
    let lent = turn.lend().unwrap();
    let lease = lent.lease();
    assert_eq!(LiveObjects::now().leases, before.leases + 2);
    // SAFETY: nothing was submitted.
    unsafe { lent.not_submitted() };
    exchange.close().unwrap();

    let now = LiveObjects::now();
    assert_eq!((now.exchanges, now.turns, now.timelines), (before.exchanges, before.turns, before.timelines));
    assert_eq!(additional_objects(&before), (1, 2), "the leased slot lives, and the other does not");
    fill_leased(rig, buffer);
    drop(early);
    let last = lease.clone();
    std::thread::spawn(move || drop(lease)).join().unwrap();
    assert_eq!(additional_objects(&before), (1, 2), "a clone keeps it");
    fill_leased(rig, buffer);
    drop(last);
    assert_gone(&before);
}

fn replaced_resources_live_as_long_as_their_leases(rig: &Rig, compute: &Compute) {
    let before = LiveObjects::now();
    let mut exchange = Exchange::new(compute, &info(2), words()).unwrap();
    let old: Vec<Lease> = (0..2).map(|slot| exchange.lease(slot).unwrap()).collect();
    let turn = exchange.begin().unwrap().finish().unwrap();
    let buffer = turn.resources().as_raw();
    turn.skip();
    exchange.grow(2 * LEN).unwrap();
    for _ in 0..4 {
        exchange.begin().unwrap().finish().unwrap().skip();
    }
    let new = exchange.lease(0).unwrap();
    assert!(!new.is_same(&old[0]), "other resources are in the slot");
    assert_eq!(additional_objects(&before), (4, 0));
    fill_leased(rig, buffer);
    exchange.close().unwrap();
    assert_eq!(additional_objects(&before), (3, 0), "both old slots and one new");
    fill_leased(rig, buffer);
    drop(old);
    assert_eq!(additional_objects(&before), (1, 0));
    drop(new);
    assert_gone(&before);
}

fn a_leased_part_of_a_pool_is_not_reused(rig: &Rig, compute: &Compute) {
    let before = LiveObjects::now();
    let pool = SharedPool::new(compute, &SharedPoolInfo { block_size: 1 << 16, ..Default::default() }).unwrap();
    let of_pool = ExchangeInfo { pool: Some(&pool), ..info(2) };
    let mut exchange = Exchange::new(compute, &of_pool, words()).unwrap();
    let turn = exchange.begin().unwrap().finish().unwrap();
    let (buffer, lease) = (turn.resources().as_raw(), turn.lease());
    turn.skip();
    exchange.close().unwrap();
    assert_eq!(pool.report().buffers, 1, "its bytes are taken");
    drop(pool);
    fill_leased(rig, buffer);
    assert_eq!(LiveObjects::now().blocks, before.blocks + 1);
    drop(lease);
    assert_gone(&before);
}

/// Resources that may still be in use are leaked: the last lease does not destroy them.
fn a_lease_frees_nothing_that_is_leaked(_: &Rig, compute: &Compute) {
    let before = LiveObjects::now();
    let gate = Gate::on(compute);
    let limited = ExchangeInfo { timeout: Duration::from_millis(50), ..info(1) };
    let mut exchange = Exchange::new(compute, &limited, words()).unwrap();
    let mut turn = exchange.begin().unwrap();
    gate.hold(&mut turn);
    turn.finish().unwrap().skip();
    let lease = exchange.lease(0).unwrap();
    assert!(matches!(exchange.close(), Err(Error::Timeout { .. })));
    drop(lease);
    let now = LiveObjects::now();
    assert_eq!(additional_objects(&before), (1, 0), "it may still be in use");
    assert_eq!((now.leases, now.leaked_buffers), (before.leases, before.leaked_buffers + 1));
}
