use super::super::tests::{computed, submit};
use super::*;
use crate::exchange::ledger::{FirstSide, NewFrame};

#[test]
fn replacement_waits_for_submitted_values_only() {
    for first in [FirstSide::Compute, FirstSide::Render] {
        let mut ledger = Ledger::new(first, 2);
        assert_eq!((ledger.open_use(), ledger.settled_value(|| unreachable!("nothing was lost"))), (None, Ok(0)));
        let begun = ledger.begin(|| 0).unwrap();
        let stage = if first == FirstSide::Compute { Stage::Compute } else { Stage::Render };
        assert_eq!(ledger.open_use(), Some((0, stage)));
        if first == FirstSide::Compute {
            ledger.finish(begun.slot, 1);
            assert_eq!(ledger.open_use(), Some((0, Stage::Render)));
        }
        let value = ledger.lend(begun.slot, begun.frame).unwrap();
        assert_eq!(ledger.open_use(), Some((0, Stage::Submit)));
        ledger.drop_render(begun.slot);
        assert_eq!(ledger.open_use(), None);
        // The submission may still run, with no signal after it.
        let lost = Refusal::TurnLost { frame: 0, stage: Stage::Submit };
        assert_eq!(ledger.settled_value(|| value - 1), Err(lost));
        assert_eq!(ledger.settled_value(|| value), Ok(0), "it has ended");
        let flushed = ledger.flush().unwrap();
        ledger.mark_flushed(flushed);
        assert_eq!(ledger.settled_value(|| unreachable!("a signal is behind it")), Ok(flushed));
    }
}

#[test]
fn replaced_slots_are_free_and_values_continue() {
    let mut ledger = Ledger::new(FirstSide::Compute, 2);
    for _ in 0..2 {
        let begun = ledger.begin(|| 0).unwrap();
        ledger.finish(begun.slot, begun.frame + 1);
        let value = ledger.next_rendered_value(begun.frame).unwrap();
        ledger.mark_submitted(begun.slot, value);
    }
    let handed_over = ledger.take_rendered_value();
    assert_eq!((handed_over, ledger.last_rendered()), (3, 3));
    ledger.mark_replaced(handed_over, false);
    assert_eq!(ledger.begin(|| 0).unwrap(), NewFrame { frame: 2, slot: 0, wait: Some(3) });
    ledger.skip_compute(0);
    ledger.mark_replaced(0, false);
    assert_eq!(ledger.begin(|| 0).unwrap(), NewFrame { frame: 3, slot: 0, wait: None });
    ledger.skip_compute(0);
    // The order continues with slot 1, after slot 0.
    let begun = computed(&mut ledger);
    assert_eq!((begun.slot, submit(&mut ledger, begun)), (0, 4));
    ledger.mark_replaced(5, false);
    assert_eq!([0; 2].map(|_| computed(&mut ledger).slot), [1, 0]);
    ledger.skip_render(0);
    ledger.skip_render(1);
    // Images on an engine's device are handed over again.
    ledger.mark_replaced(0, true);
    assert_eq!(ledger.begin(|| 0), Err(Refusal::NotInitialized));
    let value = ledger.lend_initial();
    ledger.mark_initial_submitted(value);
    assert_eq!(ledger.begin(|| 0).unwrap().wait, Some(value));
}
