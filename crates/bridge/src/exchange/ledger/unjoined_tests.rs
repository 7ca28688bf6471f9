use super::*;
use crate::error::Stage;
use crate::exchange::ledger::{First, Refusal};

fn never() -> u64 {
    panic!("nothing was lost")
}

#[test]
fn unjoined_slot_is_not_given_out() {
    let mut ledger = Ledger::new(First::Compute, 2);
    let begun = ledger.begin(never).unwrap();
    assert_eq!((begun.frame, begun.slot), (0, 0));
    ledger.drop_compute(0, None);
    assert!(!ledger.has_left_out());
    ledger.keep_unjoined(0, 0);
    assert!(ledger.has_left_out());
    assert_eq!(ledger.begin(never), Err(Refusal::TurnLost { frame: 0, stage: Stage::Compute }), "told once");
    for _ in 0..3 {
        assert_eq!(ledger.begin(never).unwrap().slot, 1);
        assert_eq!(ledger.unjoined(), None, "while a turn is open");
        ledger.skip_compute(1);
    }
    assert_eq!(ledger.unjoined(), Some(0));
    ledger.joined(0);
    assert!(ledger.unjoined().is_none() && !ledger.has_left_out());
    let begun = ledger.begin(never).unwrap();
    assert_eq!((begun.slot, begun.wait), (0, None));
}

#[test]
fn joined_slot_still_waits_for_vulkan() {
    let mut ledger = Ledger::new(First::Compute, 1);
    let begun = ledger.begin(never).unwrap();
    let computed = ledger.take_computed();
    ledger.finish(0, computed);
    let rendered = ledger.next_rendered(begun.frame).unwrap();
    ledger.submitted(0, rendered);
    let begun = ledger.begin(never).unwrap();
    assert_eq!(begun.wait, Some(rendered));
    ledger.drop_compute(0, None);
    ledger.keep_unjoined(0, begun.frame);
    ledger.begin(never).unwrap_err();
    let refused = Err(Refusal::TurnLost { frame: begun.frame, stage: Stage::Compute });
    assert_eq!(ledger.begin(never), refused, "and by its own frame");
    assert!(ledger.idle().is_ok() && ledger.holder().is_none(), "nobody holds it");
    ledger.joined(0);
    assert_eq!(ledger.begin(never).unwrap().wait, Some(rendered));
}

#[test]
fn held_slots_do_not_become_unjoined() {
    let mut ledger = Ledger::new(First::Compute, 1);
    ledger.begin(never).unwrap();
    ledger.keep_unjoined(0, 0);
    ledger.joined(0);
    ledger.skip_compute(0);
    assert_eq!(ledger.unjoined(), None);
    assert_eq!(ledger.begin(never).unwrap().slot, 0);
}
