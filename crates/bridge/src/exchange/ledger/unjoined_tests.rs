use super::*;
use crate::error::Stage;
use crate::exchange::ledger::{FirstSide, Refusal};

fn never() -> u64 {
    panic!("nothing was lost")
}

#[test]
fn unjoined_slot_is_not_given_out() {
    let mut ledger = Ledger::new(FirstSide::Compute, 2);
    let begun = ledger.begin(never).unwrap();
    assert_eq!((begun.frame, begun.slot), (0, 0));
    ledger.drop_compute(0, None);
    assert!(!ledger.has_incomplete_slot());
    ledger.mark_unjoined(0, 0);
    assert!(ledger.has_incomplete_slot());
    assert_eq!(ledger.begin(never), Err(Refusal::TurnLost { frame: 0, stage: Stage::Compute }), "reported once");
    for _ in 0..3 {
        assert_eq!(ledger.begin(never).unwrap().slot, 1);
        assert_eq!(ledger.unjoined(), None, "while a turn is open");
        ledger.skip_compute(1);
    }
    assert_eq!(ledger.unjoined(), Some(0));
    ledger.mark_joined(0);
    assert!(ledger.unjoined().is_none() && !ledger.has_incomplete_slot());
    let begun = ledger.begin(never).unwrap();
    assert_eq!((begun.slot, begun.wait), (0, None));
}

#[test]
fn joined_slot_still_waits_for_vulkan() {
    let mut ledger = Ledger::new(FirstSide::Compute, 1);
    let begun = ledger.begin(never).unwrap();
    ledger.finish(0, 1);
    let rendered = ledger.next_rendered_value(begun.frame).unwrap();
    ledger.mark_submitted(0, rendered);
    let begun = ledger.begin(never).unwrap();
    assert_eq!(begun.wait, Some(rendered));
    ledger.drop_compute(0, None);
    ledger.mark_unjoined(0, begun.frame);
    ledger.begin(never).unwrap_err();
    let refused = Err(Refusal::TurnLost { frame: begun.frame, stage: Stage::Compute });
    assert_eq!(ledger.begin(never), refused, "and by its own frame");
    assert!(ledger.check_idle().is_ok() && ledger.open_use().is_none(), "nobody holds it");
    ledger.mark_joined(0);
    assert_eq!(ledger.begin(never).unwrap().wait, Some(rendered));
}

#[test]
fn held_slots_do_not_become_unjoined() {
    let mut ledger = Ledger::new(FirstSide::Compute, 1);
    ledger.begin(never).unwrap();
    ledger.mark_unjoined(0, 0);
    ledger.mark_joined(0);
    ledger.skip_compute(0);
    assert_eq!(ledger.unjoined(), None);
    assert_eq!(ledger.begin(never).unwrap().slot, 0);
}
