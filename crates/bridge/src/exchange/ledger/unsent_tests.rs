use super::*;
use crate::error::Stage;
use crate::exchange::ledger::FirstSide;
use crate::exchange::ledger::refusal::Refusal;

fn ledger() -> Ledger {
    Ledger::new(FirstSide::RenderRemote, 2)
}

/// Begins and submits a frame. Returns its slot, and the value that it waits for.
fn draw(ledger: &mut Ledger) -> (usize, Option<u64>) {
    let begun = ledger.begin(|| 0).unwrap();
    let value = ledger.next_rendered_value(begun.frame).unwrap();
    ledger.mark_submitted(begun.slot, value);
    (begun.slot, begun.wait)
}

#[test]
fn frames_are_sent_in_submission_order() {
    let mut ledger = ledger();
    assert_eq!((ledger.next_unsent(), ledger.would_block(|| 0)), (None, false));
    assert_eq!([draw(&mut ledger), draw(&mut ledger)], [(0, None), (1, None)]);
    assert!(ledger.would_block(|| 0) && ledger.remote_slots().next().is_none());
    let first = SubmittedFrame { frame: 0, slot: 0, value: 1, visible_at: 1 };
    assert_eq!((ledger.next_unsent(), ledger.next_unsent()), (Some(first), Some(first)), "asking changes nothing");
    ledger.mark_sent(0);
    assert_eq!(ledger.next_unsent(), Some(SubmittedFrame { frame: 1, slot: 1, value: 2, visible_at: 2 }));
    ledger.mark_sent(1);
    // The second slot is returned first.
    ledger.use_after(1, 1);
    ledger.reclaim(1);
    assert_eq!((ledger.next_unsent(), ledger.would_block(|| 0)), (None, false));
    assert_eq!(draw(&mut ledger), (1, Some(1)));
    assert_eq!(ledger.next_unsent().unwrap().frame, 2);
    assert!(ledger.check_idle().is_ok() && ledger.remote_slots().eq([0]));
}

#[test]
fn unsubmitted_frames_are_not_sent() {
    let mut ledger = ledger();
    let begun = ledger.begin(|| 0).unwrap();
    assert!(!ledger.would_block(|| 0), "the refusal is returned at once");
    let open = Refusal::TurnOpen { frame: 0, stage: Stage::Render };
    assert_eq!(ledger.begin(|| 0).unwrap_err(), open);
    ledger.skip_render(begun.slot);
    let begun = ledger.begin(|| 0).unwrap();
    ledger.drop_render(begun.slot);
    assert!(!ledger.would_block(|| 0), "so is the loss");
    assert!(matches!(ledger.begin(|| 0), Err(Refusal::TurnLost { frame: 1, .. })));
    // A dropped lent turn may have been submitted: its slot is not used again until the submission
    // is known to be over, and its frame is not passed on.
    let begun = ledger.begin(|| 0).unwrap();
    let value = ledger.lend(begun.slot, begun.frame).unwrap();
    ledger.drop_render(begun.slot);
    draw(&mut ledger);
    assert!(ledger.would_block(|| 0) && ledger.needs_polling());
    assert_eq!(ledger.next_unsent().unwrap().frame, 3);
    assert!(!ledger.would_block(|| value));
    assert_eq!(ledger.begin(|| value).unwrap().slot, begun.slot);
}

#[test]
fn begin_does_not_wait_for_a_slot_if_it_is_refused() {
    let mut ledger = ledger();
    draw(&mut ledger);
    let begun = ledger.begin(|| 0).unwrap();
    assert!(!ledger.would_block(|| 0), "a turn is open");
    let value = ledger.next_rendered_value(begun.frame).unwrap();
    ledger.mark_submitted(begun.slot, value);
    assert!(ledger.would_block(|| 0));
    ledger.require_initial();
    assert!(!ledger.would_block(|| 0), "images are to be handed over");
}
