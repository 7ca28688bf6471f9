//! The same bytes are used by one exchange after another.

use bridge::ash::vk;
use bridge::{BufferSpec, Compute, Exchange, ExchangeInfo, QueueKind};
use bridge_tests::{Filler, Gate, Readback, Rig, SeenWaits};

use crate::{LEN, READ, in_pool, pool};

const SIZE: u64 = 4 * LEN as u64;

/// Drops an exchange that Vulkan still reads, and immediately computes in the same bytes. Only the
/// drop orders the computation after the reader: it runs on another queue.
pub(crate) fn a_range_is_reused_only_after_the_last_frame(_: &Rig, compute: &Compute) {
    let seen = SeenWaits::like(compute);
    let compute = seen.compute();
    let pool = pool(compute, 64 << 10);
    let (filler, readback) = (Filler::new(compute), Readback::new(seen.device(), SIZE));
    let gate = Gate::new(seen.device());
    let spec = BufferSpec::<u32>::new(LEN, READ);
    let info = |name| ExchangeInfo { slots: 1, ..in_pool(name, &pool) };
    let mut old = Exchange::new(compute, &info("old"), spec.clone()).unwrap();
    let mut turn = old.begin().unwrap();
    filler.fill(&mut turn, 1);
    let turn = turn.finish().unwrap();
    // After this, dropping only has to wait for Vulkan.
    turn.computed().wait(Rig::LONG).unwrap();
    gate.hold_queue(seen.device(), QueueKind::Graphics);
    let commands = readback.record(&turn, &[(turn.resources().as_raw(), SIZE)]);
    // SAFETY: recorded with the turn's barriers; dropping the exchange waits.
    let read = unsafe { turn.submit(&[commands]) }.unwrap();

    let (reached, waited, _gate) = seen.open_once_waited(gate, || {
        drop(old);
        read.is_reached().unwrap()
    });
    assert!(waited && reached, "the bytes were free before Vulkan had read them: {waited}, {reached}");
    let mut new = Exchange::new(compute, &info("new"), spec).unwrap();
    assert_eq!(pool.report().blocks, 1, "the same bytes");
    let mut turn = new.begin().unwrap();
    filler.fill(&mut turn, 5000);
    let turn = turn.finish().unwrap();
    turn.computed().wait(Rig::LONG).unwrap();
    assert!(readback.words() == Filler::pattern(LEN, 1), "the new exchange wrote what Vulkan was reading");
    let source = (turn.resources().as_raw(), SIZE);
    assert!(readback.run(turn, &[source]) == Filler::pattern(LEN, 5000));
}

/// The negative control of the test above: the bytes are free although a reader is pending, which
/// sees what is written next.
pub(crate) fn a_range_that_is_taken_too_early_is_overwritten(rig: &Rig, compute: &Compute) {
    let pool = pool(compute, 64 << 10);
    let (filler, readback) = (Filler::new(compute), Readback::new(rig.device(), SIZE));
    let gate = Gate::new(rig.device());
    let info = ExchangeInfo { slots: 1, ..in_pool("early", &pool) };
    let mut exchange = Exchange::new(compute, &info, BufferSpec::<u32>::new(LEN, READ)).unwrap();
    let mut turn = exchange.begin().unwrap();
    filler.fill(&mut turn, 1);
    let turn = turn.finish().unwrap();
    turn.computed().wait(Rig::LONG).unwrap();
    let commands = readback.record(&turn, &[(turn.resources().as_raw(), SIZE)]);
    let turn = turn.lend().unwrap();
    gate.hold_queue(rig.device(), QueueKind::Graphics);
    let infos = [vk::CommandBufferSubmitInfo::default().command_buffer(commands)];
    let batch = vk::SubmitInfo2::default().command_buffer_infos(&infos);
    // SAFETY: the commands' resources live until the queue is idle, which the gate's drop waits
    // for.
    unsafe { rig.device().queue().submit(&[batch], vk::Fence::null()) }.unwrap();
    // SAFETY: wrong on purpose: they were submitted. The memory consists of plain words.
    unsafe { turn.not_submitted() };

    let mut turn = exchange.begin().unwrap();
    filler.fill(&mut turn, 5000);
    let turn = turn.finish().unwrap();
    turn.computed().wait(Rig::LONG).unwrap();
    drop(gate);
    assert!(readback.words() == Filler::pattern(LEN, 5000), "a reader that nobody waits for has to be overwritten");
    turn.skip();
}
