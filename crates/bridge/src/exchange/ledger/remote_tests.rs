use super::*;
use crate::error::Stage;
use crate::exchange::ledger::FirstSide;

fn ledger() -> Ledger {
    Ledger::new(FirstSide::Compute, 3)
}

fn send(ledger: &mut Ledger) -> Option<(usize, u64)> {
    ledger.send_slot(|_, _| true, || 0)
}

#[test]
fn slots_are_sent_by_last_use_and_frames_numbered_by_announcement() {
    let mut ledger = ledger();
    assert_eq!([(); 4].map(|()| send(&mut ledger)), [Some((0, 0)), Some((1, 0)), Some((2, 0)), None]);
    assert_eq!([2, 0].map(|slot| ledger.announce(slot)), [Some((0, 0)), Some((1, 0))]);
    assert_eq!((ledger.announce(2), ledger.announce(9)), (None, None), "it is Vulkan's, or is not");
    // Submitted in another order.
    let value = ledger.next_rendered_value(1).unwrap();
    ledger.mark_submitted(0, value);
    let value = ledger.next_rendered_value(0).unwrap();
    ledger.mark_submitted(2, value);
    assert_eq!([(); 3].map(|()| send(&mut ledger)), [Some((0, 1)), Some((2, 2)), None]);
    // A skipped frame leaves no new value to wait for.
    assert_eq!(ledger.announce(2), Some((2, 2)));
    ledger.skip_render(2);
    assert_eq!(send(&mut ledger), Some((2, 2)));
}

#[test]
fn slots_of_a_lost_process_are_free_after_their_last_use() {
    let mut ledger = ledger();
    while send(&mut ledger).is_some() {}
    ledger.announce(1);
    let value = ledger.next_rendered_value(0).unwrap();
    ledger.mark_submitted(1, value);
    assert_eq!(send(&mut ledger), Some((1, 1)));
    ledger.announce(0);
    let held: Vec<_> = ledger.remote_slots().collect();
    assert_eq!(held, [1, 2]);
    held.into_iter().chain([0]).for_each(|slot| ledger.reclaim(slot));
    assert_eq!([(); 3].map(|()| send(&mut ledger)), [Some((2, 0)), Some((1, 1)), None], "slot 0 is Vulkan's");
}

#[test]
fn slots_that_are_not_ready_are_not_sent() {
    let mut ledger = ledger();
    assert_eq!(ledger.send_slot(|slot, _| slot == 2, || 0), Some((2, 0)));
    assert_eq!(ledger.send_slot(|slot, _| slot == 2, || 0), None);
    assert!(!ledger.needs_polling(), "every change comes with a word");
    ledger.require_initial();
    assert!(send(&mut ledger).is_none() && ledger.needs_polling());
}

#[test]
fn dropped_turn_is_reported_once_and_lost_submission_recovers_at_its_value() {
    let mut ledger = ledger();
    while send(&mut ledger).is_some() {}
    for slot in 0..2 {
        ledger.announce(slot).unwrap();
    }
    ledger.drop_render(0);
    assert_eq!(ledger.take_dropped(), Some(Refusal::TurnLost { frame: 0, stage: Stage::Render }));
    assert_eq!((ledger.take_dropped(), send(&mut ledger)), (None, Some((0, 0))));
    let value = ledger.lend(1, 1).unwrap();
    ledger.drop_render(1);
    assert!(send(&mut ledger).is_none() && ledger.needs_polling());
    assert_eq!(ledger.send_slot(|_, _| true, || value), Some((1, value)));
}

#[test]
fn has_free_after_compares_the_last_use() {
    let mut ledger = ledger();
    assert!(!ledger.has_free_after(0), "nothing was used");
    send(&mut ledger).unwrap();
    ledger.announce(0).unwrap();
    let value = ledger.next_rendered_value(0).unwrap();
    ledger.mark_submitted(0, value);
    assert_eq!([value - 1, value, value + 1].map(|value| ledger.has_free_after(value)), [true, false, false]);
    while send(&mut ledger).is_some() {}
    assert!(!ledger.has_free_after(value - 1), "it is remote");
}

#[test]
fn frame_numbers_continue_from_the_previous_ledger() {
    let mut ledger = ledger();
    while send(&mut ledger).is_some() {}
    let next = |ledger: &mut Ledger, slot| ledger.announce(slot).unwrap().0;
    assert_eq!([next(&mut ledger, 0), next(&mut ledger, 1)], [0, 1]);
    let mut anew = self::ledger();
    while send(&mut anew).is_some() {}
    anew.continue_from(&mut ledger);
    assert_eq!([next(&mut anew, 2), next(&mut anew, 0)], [2, 3]);
}
