//! Tests of the ledger against a model that knows the frame in each slot: all schedules of small
//! exchanges, and random ones of larger exchanges.

#[path = "explore.rs"]
mod explore;
#[path = "revived_tests.rs"]
mod revived;
#[path = "world.rs"]
mod world;

use proptest::prelude::*;

use super::*;
use explore::explore;
use world::{FAULTS, Sizes, Step, VALID, World};

#[test]
#[cfg_attr(miri, ignore)] // Many states, and no memory accesses to check.
fn all_schedules_of_a_small_exchange_are_correct() {
    let small = [(1, 1), (2, 1), (1, 2), (2, 2)];
    // If unfinished frames may be read, the last one has twice as many states, which cover nothing
    // more.
    for (newest, sizes) in [(Newest::Finished, &small[..]), (Newest::Published, &small[..3])] {
        for &(writer, reader) in sizes {
            let states = explore(World::new(Sizes::minimum(writer, reader), newest, 0)).unwrap();
            assert!(states > 500, "only {states} states of {writer} and {reader} in flight");
        }
    }
}

#[test]
#[cfg_attr(miri, ignore)] // Many states, and no memory accesses to check.
fn all_faults_of_a_small_exchange_are_handled() {
    // If unfinished frames may be read, two faults lead to many more states.
    for (newest, faults) in [(Newest::Finished, 2), (Newest::Published, 1)] {
        let states = explore(World::new(Sizes::minimum(1, 1), newest, faults)).unwrap();
        assert!(states > 2000, "only {states} states");
    }
}

/// Control of the previous test: the model detects that slots are initialized again while they are
/// written, which happens if the frame of a turn that was never submitted is unfinished.
#[test]
fn premature_revival_of_a_slot_is_detected() {
    let mut world = World::new(Sizes::minimum(1, 1), Newest::Published, 1);
    world.skip_revival_wait = true;
    let fault = explore(world).unwrap_err();
    assert!(fault.contains("is initialized while it is written"), "{fault}");
}

/// With fewer slots than the constructor requires, one side waits for the other.
#[test]
#[cfg_attr(miri, ignore)] // Many states, and no memory accesses to check.
fn one_slot_too_few_makes_a_side_wait() {
    for (writer, reader) in [(1, 1), (2, 1), (1, 2)] {
        let sizes = Sizes { slots: writer + reader + 1, writer, reader };
        let fault = explore(World::new(sizes, Newest::Finished, 0)).unwrap_err();
        let waits = fault.contains("waits for the reader") || fault.contains("NoSlot");
        assert!(waits, "{fault}");
    }
}

/// Control of the model: it detects a missing wait.
#[test]
fn writer_that_does_not_wait_is_detected() {
    let mut world = World::new(Sizes::minimum(1, 1), Newest::Finished, 0);
    world.skip_waits = true;
    let fault = explore(world).unwrap_err();
    assert!(fault.contains("is not waited for"), "{fault}");
}

/// A writer in another process gets all slots that are free and no longer used, and no others.
#[test]
#[cfg_attr(miri, ignore)] // Many states, and no memory accesses to check.
fn all_schedules_of_a_remote_writer_are_correct() {
    for (slots, reader) in [(3, 1), (4, 1), (4, 2)] {
        let mut world = World::new(Sizes { slots, writer: 1, reader }, Newest::Finished, 0);
        world.remote_writer = true;
        let states = explore(world).unwrap();
        assert!(states > 300, "only {states} states of {slots} slots");
    }
}

/// Control of the previous test: the model detects a missing wait for a reader's submission.
#[test]
#[cfg_attr(miri, ignore)] // Many states, and no memory accesses to check.
fn premature_sending_of_a_slot_is_detected() {
    let mut world = World::new(Sizes { slots: 3, writer: 1, reader: 1 }, Newest::Finished, 0);
    (world.remote_writer, world.skip_waits) = (true, true);
    let fault = explore(world).unwrap_err();
    assert!(fault.contains("is in use"), "{fault}");
}

/// Control of the same test: the model detects that Vulkan does not wait for a frame.
#[test]
fn unsignaled_frame_of_a_remote_writer_is_detected() {
    let mut world = World::new(Sizes { slots: 3, writer: 1, reader: 1 }, Newest::Finished, 0);
    (world.remote_writer, world.skip_signals) = (true, true);
    let fault = explore(world).unwrap_err();
    assert!(fault.contains("is not waited for"), "{fault}");
}

/// A reader in another process gets the newest finished frame, and the writer always has a slot,
/// whatever the reader keeps.
#[test]
#[cfg_attr(miri, ignore)] // Many states, and no memory accesses to check.
fn all_schedules_of_a_remote_reader_are_correct() {
    for (writer, reader, faults) in [(1, 1, 0), (2, 1, 0), (1, 2, 0), (2, 2, 0), (1, 1, 2)] {
        let mut world = World::new(Sizes::minimum(writer, reader), Newest::Finished, faults);
        world.remote_reader = true;
        let states = explore(world).unwrap();
        assert!(states > 100, "only {states} states of {writer} and {reader} in flight");
    }
}

/// Controls of the previous test: an unfinished frame and the lack of a slot are detected.
#[test]
fn premature_sending_of_a_frame_is_detected() {
    let mut world = World::new(Sizes::minimum(1, 1), Newest::Finished, 0);
    (world.remote_reader, world.skip_waits) = (true, true);
    let fault = explore(world).unwrap_err();
    assert!(fault.contains("is sent instead of None"), "{fault}");

    let mut ledger = Ledger::new(4, Newest::Finished);
    for value in 1..=4 {
        let begun = ledger.begin(value - 1, never).unwrap();
        ledger.publish(begun.slot, value);
        assert_eq!(ledger.send_frame(value, 4), Some((begun.slot, value - 1)), "one more than it may hold");
    }
    assert!(matches!(ledger.begin(4, never), Err(Refusal::NoSlot { .. })), "the reader has all slots");
}

#[test]
fn remote_slots_are_listed() {
    let mut ledger = Ledger::new(4, Newest::Finished);
    let sent: Vec<_> = std::iter::from_fn(|| ledger.send_slot(0, 0)).map(|(slot, _)| slot).collect();
    assert_eq!((sent, ledger.remote_slots().count()), (vec![0, 1, 2, 3], 4));
    assert_eq!((ledger.publish_remote(2), ledger.publish_remote(2)), (Some(0), None), "it is the reader's now");
    assert_eq!(ledger.publish_remote(9), None, "there is none");
    assert_eq!(taken(&mut ledger, 1), 2);
    ledger.read(1);
    assert_eq!(ledger.publish_remote(0), Some(1));
    assert_eq!(taken(&mut ledger, 2), 0);
    assert!(!ledger.awaits_timeline(0, 2), "the turn is open");
    ledger.read(2);
    assert_eq!(
        (ledger.awaits_timeline(1, 2), ledger.send_slot(1, 2)),
        (true, None),
        "the submission with it has not ended"
    );
    assert_eq!((ledger.awaits_timeline(2, 2), ledger.send_slot(2, 2)), (false, Some((2, true))));
    ledger.reclaim(1);
    assert_eq!((ledger.remote_slots().collect::<Vec<_>>(), ledger.send_slot(2, 2)), (vec![2, 3], Some((1, false))));
}

/// A thread that waits for a slot polls only if a timeline can free one.
#[test]
fn pending_timeline_values_that_free_a_slot_are_reported() {
    let mut ledger = Ledger::new(2, Newest::Finished);
    assert!(!ledger.awaits_timeline(0, 0), "all slots are free already");
    assert_eq!([ledger.send_slot(0, 0), ledger.send_slot(0, 0)], [Some((0, false)), Some((1, false))]);
    assert!(!ledger.awaits_timeline(0, 0), "they come back by a message");
    assert_eq!(ledger.publish_remote(0), Some(0));
    assert!(!ledger.awaits_timeline(0, 0), "its frame is the reader's to take");
    assert_eq!(taken(&mut ledger, 1), 0);
    ledger.skip_read();
    assert!(ledger.awaits_timeline(0, 0), "the signal of its frame has not come");
    assert!(!ledger.awaits_timeline(0, 1), "it has, and the frame is the reader's to take again");
}

/// A frame that was never taken has no signal to wait for: its slot is the writer's again at once.
#[test]
fn slot_of_an_untaken_frame_is_free_immediately() {
    let mut ledger = Ledger::new(3, Newest::Finished);
    while ledger.send_slot(0, 0).is_some() {}
    assert_eq!([ledger.publish_remote(0), ledger.publish_remote(1)], [Some(0), Some(1)]);
    assert_eq!(ledger.send_slot(0, 0), Some((0, false)));
    // A frame that was taken and skipped is signaled once.
    assert_eq!(taken(&mut ledger, 1), 1);
    ledger.skip_read();
    let again = ledger.newest(0).unwrap().unwrap();
    assert_eq!((again.frame, again.value, again.is_unsignaled()), (1, 1, false));
    assert_eq!(ledger.set_signal(2), None);
    ledger.skip_read();
    assert_eq!(ledger.publish_remote(2), Some(2));
    assert_eq!((ledger.awaits_timeline(0, 0), ledger.send_slot(0, 0)), (true, None), "the signal is on its way");
    assert_eq!(ledger.send_slot(0, 1), Some((1, false)));
    // A frame that was read keeps its value.
    assert_eq!(taken(&mut ledger, 2), 2);
    ledger.read(1);
    let again = ledger.newest(1).unwrap().unwrap();
    assert_eq!((again.value, again.is_new, again.is_unsignaled()), (2, false, false));
}

/// Takes the reader's next frame, which is signaled with `value`. Returns its slot.
fn taken(ledger: &mut Ledger, value: u64) -> usize {
    let chosen = ledger.newest(value - 1).unwrap().unwrap();
    assert!(chosen.is_unsignaled(), "{chosen:?}");
    assert_eq!(ledger.set_signal(value), Some(ChosenFrame { value, ..chosen }));
    chosen.slot
}

fn never() -> u64 {
    panic!("asked for the timeline without need")
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![12 => prop::sample::select(&VALID[..]), 1 => prop::sample::select(&FAULTS[..])]
}

proptest! {
    #[test]
    fn long_schedules_match_the_model(
        (writer, reader, more) in (1usize..5, 1usize..5, 0usize..4),
        issued in any::<bool>(),
        steps in prop::collection::vec(step(), 1..400),
    ) {
        let sizes = Sizes { slots: writer + reader + 2 + more, writer, reader };
        let mut world = World::new(sizes, if issued { Newest::Published } else { Newest::Finished }, usize::MAX);
        for step in steps {
            world.step(step).map_err(TestCaseError::fail)?;
        }
    }
}

#[test]
fn a_stopped_reader_holds_one_slot_and_a_stopped_writer_none() {
    let mut ledger = Ledger::new(5, Newest::Finished);
    let write = |ledger: &mut Ledger, value| {
        let begun = ledger.begin(value - 1, never).unwrap();
        ledger.publish(begun.slot, value);
        begun
    };
    write(&mut ledger, 1);
    let first = ledger.newest(1).unwrap().unwrap();
    ledger.read(1);
    // The writer continues indefinitely without the reader.
    for value in 2..100 {
        assert_ne!(write(&mut ledger, value).slot, first.slot);
    }
    // The reader continues indefinitely without the writer.
    for value in 2..100 {
        let turn = ledger.newest(99).unwrap().unwrap();
        assert_eq!((turn.frame, turn.is_new), (98, value == 2));
        ledger.read(value);
    }
}

#[test]
fn misuse_is_reported_once() {
    let mut ledger = Ledger::new(5, Newest::Finished);
    let begun = ledger.begin(0, never).unwrap();
    assert_eq!(ledger.begin(0, never), Err(Refusal::Open { frame: 0 }));
    ledger.drop_write(begun.slot);
    assert_eq!(ledger.begin(0, never), Err(Refusal::Lost { frame: 0 }));
    let begun = ledger.begin(0, never).unwrap();
    assert_eq!(begun.frame, 0, "the frame is begun again");
    ledger.publish(begun.slot, 1);
    assert_eq!(ledger.newest(0), Ok(None));
    assert_eq!(ledger.newest(1).unwrap().unwrap().frame, 0);
    assert_eq!(ledger.newest(1), Err(Refusal::Open { frame: 0 }));
    assert_eq!(ledger.open_turns(), (None, Some(0)));
    ledger.skip_read();
    assert!(ledger.newest(1).unwrap().unwrap().is_new, "it was not taken over");
    ledger.lose_read();
    assert_eq!(ledger.newest(1), Ok(None), "nobody knows whose it is");
    assert_eq!(ledger.retired_slots().collect::<Vec<_>>(), [0]);
}

/// The signal that gives slots back covers the work of turns that could not signal.
#[test]
fn signal_covers_all_slots_that_it_returns() {
    let mut ledger = Ledger::new(8, Newest::Finished);
    let mut value = 0;
    let mut newest = |ledger: &mut Ledger, is_new: bool| {
        if is_new {
            value += 1;
            let begun = ledger.begin(value, || value).unwrap();
            ledger.publish(begun.slot, value);
        }
        let chosen = ledger.newest(value).unwrap().unwrap();
        assert_eq!(chosen.is_new, is_new);
        chosen.slot
    };
    let sorted = |mut slots: Vec<usize>| {
        slots.sort_unstable();
        slots
    };
    let in_turn = |ledger: &Ledger| sorted(ledger.slots_in_turn().collect());
    // A turn that takes over another frame and cannot signal: both slots are retired.
    let first = newest(&mut ledger, true);
    ledger.read(1);
    let second = newest(&mut ledger, true);
    ledger.lose_read();
    let third = newest(&mut ledger, true);
    assert_eq!(in_turn(&ledger), [third]);
    assert_eq!(sorted(ledger.retired_slots().collect()), sorted(vec![first, second]), "joined besides");
    ledger.read(2);
    ledger.revive(&[first, second], 2);
    // A turn with the same frame again: its slot stays the reader's until the next turn gives it
    // back.
    newest(&mut ledger, false);
    ledger.lose_read();
    let fourth = newest(&mut ledger, true);
    assert_eq!(in_turn(&ledger), sorted(vec![third, fourth]));
    ledger.read(3);
    assert_eq!((ledger.slots_in_turn().count(), ledger.retired_slots().count()), (0, 0), "no turn is open");
}

/// Commands that may have been submitted after all precede the value that was seen, so the next
/// frame in the slot waits for that value.
#[test]
fn lost_write_is_waited_for_at_the_observed_value() {
    let mut ledger = Ledger::new(1, Newest::Published);
    let begun = ledger.begin(0, || unreachable!("nothing is lost")).unwrap();
    ledger.lose_write(begun.slot, 1);
    let begun = ledger.begin(0, || 3).unwrap();
    assert_eq!(begun.last_uses, LastUses { written: 3, ..LastUses::default() });
}

#[test]
fn open_turns_and_the_last_taken_frame_are_those_of_each_side() {
    let mut ledger = Ledger::new(4, Newest::Finished);
    let state = |ledger: &Ledger| (ledger.open_turns(), ledger.last_taken());
    for (frame, before) in [(0, None), (1, Some(0)), (2, Some(1))] {
        let slot = ledger.begin(frame, never).unwrap().slot;
        assert_eq!(state(&ledger), ((Some(frame), None), before));
        ledger.publish(slot, frame + 1);
        ledger.newest(frame + 1).unwrap().unwrap();
        assert_eq!(state(&ledger), ((None, Some(frame)), before));
        ledger.read(frame + 1);
        assert_eq!(state(&ledger), ((None, None), Some(frame)));
    }
}
