//! Tests of slots that are initialized again after a turn of the reader was lost.

use super::*;

/// A slot that Vulkan has handed over again counts as used: the writer's GPU waits for that.
#[test]
fn revived_slot_counts_as_used() {
    let mut ledger = Ledger::new(4, Newest::Finished);
    while ledger.send_slot(0, 0).is_some() {}
    ledger.publish_remote(0);
    assert_eq!(taken(&mut ledger, 1), 0);
    ledger.lose_read();
    let retired: Vec<_> = ledger.retired_slots().collect();
    assert_eq!((retired.clone(), ledger.send_slot(0, 1)), (vec![0], None));
    ledger.revive(&retired, 0);
    assert_eq!(ledger.send_slot(0, 1), Some((0, true)));
    ledger.reclaim(0);
    assert_eq!(ledger.send_slot(0, 1), Some((0, false)));
}

/// The writer waits for the hand-over of revived slots, on the reader's timeline.
#[test]
fn revived_slot_is_waited_for_at_the_value_of_its_hand_over() {
    let mut ledger = Ledger::new(1, Newest::Finished);
    let slot = ledger.begin(0, never).unwrap().slot;
    ledger.publish(slot, 1);
    ledger.newest(1).unwrap().unwrap();
    ledger.lose_read();
    ledger.revive(&[slot], 7);
    assert_eq!(ledger.begin(1, never).unwrap().last_uses, LastUses { read: 7, written: 0, revived: true });
}
