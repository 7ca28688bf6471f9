//! Tests of when frames begin and end: the first hand-over, open turns, and idleness.

use super::*;

fn never() -> u64 {
    panic!("asked for the timeline without need")
}

/// No frame begins before new images are handed over, by a submission that may be lent, retracted
/// and lost.
#[test]
fn no_frame_begins_before_images_are_handed_over() {
    for first in [FirstSide::Compute, FirstSide::Render] {
        let mut ledger = Ledger::new(first, 2);
        assert_eq!(ledger.initial(), InitialState::Done, "buffers need no hand-over");
        ledger.require_initial();
        assert_eq!(ledger.initial(), InitialState::Needed);
        assert_eq!((ledger.begin(never), ledger.check_idle()), (Err(Refusal::NotInitialized), Ok(())));
        assert_eq!(ledger.lend_initial(), 1);
        assert_eq!((ledger.initial(), ledger.check_idle()), (InitialState::Lent(1), Err(Refusal::InitialLent)));
        assert_eq!(ledger.flush(), None, "what is lent signals later itself");
        ledger.retract_initial(1);
        assert_eq!((ledger.initial(), ledger.last_rendered()), (InitialState::Needed, 0));
        assert_eq!(ledger.lend_initial(), 1, "no value was taken since");
        ledger.drop_initial();
        assert_eq!(ledger.initial(), InitialState::Needed);
        assert_eq!(ledger.lend_initial(), 2, "the first may have been submitted");
        assert_eq!(ledger.initial_value(), 0);
        ledger.mark_initial_submitted(2);
        assert_eq!((ledger.initial(), ledger.initial_value(), ledger.check_idle()), (InitialState::Done, 2, Ok(())));
        let wait = (first == FirstSide::Compute).then_some(2);
        assert_eq!(ledger.begin(never).unwrap().wait, wait, "Vulkan is behind it on its own queue");
    }
    let mut ledger = Ledger::new(FirstSide::Compute, 1);
    ledger.require_initial();
    ledger.mark_initialized();
    assert_eq!(ledger.begin(never).unwrap().wait, None, "it has run");
}

/// Only one frame that Vulkan began is between `begin` and `finish`, whichever turn holds it.
#[test]
fn vulkan_begins_no_second_frame() {
    let mut ledger = Ledger::new(FirstSide::Render, 3);
    let open = |ledger: &mut Ledger, stage| {
        assert_eq!(ledger.begin(never), Err(Refusal::TurnOpen { frame: 0, stage }));
    };
    let begun = ledger.begin(never).unwrap();
    open(&mut ledger, Stage::Render);
    let value = ledger.lend(begun.slot, 0).unwrap();
    open(&mut ledger, Stage::Submit);
    ledger.mark_submitted(begun.slot, value);
    open(&mut ledger, Stage::Compute);
    ledger.finish(begun.slot, 1);
    assert_eq!(ledger.begin(never).unwrap().frame, 1);
}

/// Closing an exchange reports the turn that is still held.
#[test]
fn an_exchange_is_idle_when_nobody_holds_a_turn() {
    let mut ledger = Ledger::new(FirstSide::Compute, 2);
    assert_eq!(ledger.check_idle(), Ok(()));
    let begun = ledger.begin(never).unwrap();
    assert_eq!(ledger.check_idle(), Err(Refusal::TurnOpen { frame: 0, stage: Stage::Compute }));
    ledger.finish(begun.slot, 1);
    assert_eq!(ledger.check_idle(), Err(Refusal::TurnOpen { frame: 0, stage: Stage::Render }));
    ledger.lend(begun.slot, 0).unwrap();
    assert_eq!(ledger.check_idle(), Err(Refusal::TurnOpen { frame: 0, stage: Stage::Submit }));
    ledger.drop_render(begun.slot);
    assert_eq!(ledger.check_idle(), Ok(()), "a lost one is nobody's");
}

/// A latest exchange keeps its slots in another ledger and uses only the values of this one.
#[test]
fn values_are_taken_by_frames() {
    let mut ledger = Ledger::new(FirstSide::Compute, 1);
    let value = ledger.values().lend(0).unwrap();
    ledger.values().mark_submitted(value);
    assert_eq!((ledger.last_rendered(), ledger.next_rendered_value(1)), (1, Ok(2)));
}

/// Slots that were not used since they were replaced keep their order.
#[test]
fn replaced_slots_keep_their_order() {
    let mut ledger = Ledger::new(FirstSide::Compute, 3);
    let frame = |ledger: &mut Ledger| {
        let begun = ledger.begin(never).unwrap();
        ledger.finish(begun.slot, begun.frame + 1);
        let value = ledger.next_rendered_value(begun.frame).unwrap();
        ledger.mark_submitted(begun.slot, value);
        begun.slot
    };
    assert_eq!([0; 4].map(|_| frame(&mut ledger)), [0, 1, 2, 0]);
    ledger.mark_replaced(0, false);
    assert_eq!([0; 4].map(|_| frame(&mut ledger)), [1, 2, 0, 1]);
}
