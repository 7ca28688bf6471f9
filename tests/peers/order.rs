//! Ordering between the GPUs and Vulkan. The follower is the second GPU, whose stream neither waits
//! for Vulkan nor signals it: it is ordered only by events.

use bridge::{Compute, Error, QueueKind};
use bridge_tests::{Filler, Gate, Readback, Rig};

use crate::{Intruder, LEN, SIZE, fill_parts, parts, read, record, second_part, words};

/// The start of the follower's part.
const HALF: usize = LEN / 2;

/// With one slot, the second frame's follower must not write to what the first frame's commands
/// still read.
pub(crate) fn a_follower_waits_for_a_slow_reader(rig: &Rig, compute: &Compute) {
    let filler = Filler::new(compute);
    let readback = Readback::new(rig.device(), SIZE);
    let gate = Gate::new(rig.device());
    let mut exchange = words(compute, 1);
    gate.hold_queue(rig.device(), QueueKind::Graphics);
    let mut turn = exchange.begin().unwrap();
    fill_parts(compute, &filler, &mut turn, 1000);
    let turn = turn.finish().unwrap();
    let commands = record(&readback, &turn);
    // SAFETY: recorded with the turn's barriers; waited for below.
    let first = unsafe { turn.submit(&[commands]) }.unwrap();

    let mut turn = exchange.begin().unwrap();
    fill_parts(compute, &filler, &mut turn, 2000);
    let turn = turn.finish().unwrap();
    assert!(!first.is_reached().unwrap() && !turn.computed().is_reached().unwrap(), "the gate holds nothing");
    gate.open();
    first.wait(Rig::LONG).unwrap();
    assert!(readback.words() == parts(2, 1000), "frame 1 overwrote what frame 0 was reading");
    turn.computed().wait(Rig::LONG).unwrap();
    turn.skip();
}

/// The negative control of the test above: the same write on the same stream, without an event
/// before it.
pub(crate) fn a_follower_unknown_to_the_turn_overwrites(rig: &Rig, compute: &Compute) {
    let filler = Filler::new(compute);
    let readback = Readback::new(rig.device(), SIZE);
    let intruder = Intruder::new(compute, 1);
    let gate = Gate::new(rig.device());
    let mut exchange = words(compute, 1);
    let mut turn = exchange.begin().unwrap();
    fill_parts(compute, &filler, &mut turn, 1000);
    let address = second_part(compute, &mut turn);
    let turn = turn.finish().unwrap();
    turn.computed().wait(Rig::LONG).unwrap();
    gate.hold_queue(rig.device(), QueueKind::Graphics);
    let commands = record(&readback, &turn);
    // SAFETY: recorded with the turn's barriers; waited for below.
    let point = unsafe { turn.submit(&[commands]) }.unwrap();

    intruder.fill(address, HALF, 7);
    intruder.stream.synchronize().unwrap();
    assert!(!point.is_reached().unwrap(), "the gate holds nothing");
    gate.open();
    point.wait(Rig::LONG).unwrap();
    let expected = [&parts(2, 1000)[..HALF], &Filler::pattern(HALF, 7)].concat();
    assert!(readback.words() == expected, "a reader that the follower does not wait for has to be overwritten");
    exchange.close().unwrap();
}

/// The follower is held: the leader's signal, and therefore Vulkan, waits for it.
pub(crate) fn vulkan_waits_for_a_slow_follower(rig: &Rig, compute: &Compute) {
    let filler = Filler::new(compute);
    let readback = Readback::new(rig.device(), SIZE);
    let mut exchange = words(compute, 2);
    for frame in 0..4u32 {
        let gate = Gate::on_gpu(compute, 1);
        let mut turn = exchange.begin().unwrap();
        gate.hold_stream();
        fill_parts(compute, &filler, &mut turn, frame * 1000);
        let turn = turn.finish().unwrap();
        let computed = turn.computed();
        let commands = record(&readback, &turn);
        // SAFETY: recorded with the turn's barriers; waited for below.
        let point = unsafe { turn.submit(&[commands]) }.unwrap();
        assert!(!computed.is_reached().unwrap() && !point.is_reached().unwrap(), "the gate holds nothing");
        gate.open();
        point.wait(Rig::LONG).unwrap();
        assert!(readback.words() == parts(2, frame * 1000), "frame {frame}");
    }
    exchange.close().unwrap();
}

/// The negative control of the test above: work that is enqueued on the follower after `finish` is
/// not followed by an event, and Vulkan sees the previous contents.
pub(crate) fn a_follower_unknown_to_the_turn_is_too_late(rig: &Rig, compute: &Compute) {
    let filler = Filler::new(compute);
    let readback = Readback::new(rig.device(), SIZE);
    let intruder = Intruder::new(compute, 1);
    let gate = Gate::on_gpu(compute, 1);
    let mut exchange = words(compute, 1);
    let mut turn = exchange.begin().unwrap();
    fill_parts(compute, &filler, &mut turn, 1000);
    let address = second_part(compute, &mut turn);
    let turn = turn.finish().unwrap();
    turn.computed().wait(Rig::LONG).unwrap();
    gate.hold_stream();
    intruder.fill(address, HALF, 7);
    assert!(read(&readback, turn) == parts(2, 1000), "without an event Vulkan has to read what was there before");
    gate.open();
    intruder.stream.synchronize().unwrap();
    exchange.close().unwrap();
}

/// `work` after `work_split` in one turn: the leader overwrites what the last GPU, which is held,
/// has written.
pub(crate) fn the_leader_waits_for_a_split(rig: &Rig, compute: &Compute) {
    let last = compute.cuda().unwrap().gpus().len() - 1;
    let filler = Filler::new(compute);
    let readback = Readback::new(rig.device(), SIZE);
    let gate = Gate::on_gpu(compute, last);
    let mut exchange = words(compute, 1);
    let mut turn = exchange.begin().unwrap();
    gate.hold_stream();
    fill_parts(compute, &filler, &mut turn, 1000);
    filler.fill(&mut turn, 5000);
    let turn = turn.finish().unwrap();
    assert!(!turn.computed().is_reached().unwrap(), "the gate holds nothing");
    gate.open();
    assert!(read(&readback, turn) == Filler::pattern(LEN, 5000), "the leader did not wait for the parts");
    exchange.close().unwrap();
}

/// A turn is dropped while its follower still has to write: the slot's next frame runs after that
/// nevertheless.
pub(crate) fn a_follower_of_a_dropped_turn_is_waited_for(rig: &Rig, compute: &Compute) {
    let filler = Filler::new(compute);
    let readback = Readback::new(rig.device(), SIZE);
    let gate = Gate::on_gpu(compute, 1);
    let mut exchange = words(compute, 1);
    let mut turn = exchange.begin().unwrap();
    gate.hold_stream();
    fill_parts(compute, &filler, &mut turn, 1000);
    drop(turn);
    assert!(matches!(exchange.begin().unwrap_err(), Error::TurnLost { .. }));
    let mut turn = exchange.begin().unwrap();
    filler.fill(&mut turn, 3000);
    let turn = turn.finish().unwrap();
    assert!(!turn.computed().is_reached().unwrap(), "the gate holds nothing");
    gate.open();
    assert!(read(&readback, turn) == Filler::pattern(LEN, 3000), "the lost frame's follower came later");
    exchange.close().unwrap();
}
