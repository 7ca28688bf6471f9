#![allow(clippy::unwrap_used)] // A test that cannot continue fails.

use super::*;

#[test]
fn a_lent_hand_over_is_not_a_lent_turn() {
    let mut values = Values::default();
    assert!(!values.is_lent() && !values.is_turn_lent());
    assert_eq!(values.lend_hand_over(7), Ok(1));
    assert!(values.is_lent() && !values.is_turn_lent());
    assert_eq!(values.lend(8), Err(Refusal::OutOfOrder { frame: 8, first: 7 }));
    values.mark_submitted(1);
    assert_eq!(values.lend(8), Ok(2));
    assert!(values.is_lent() && values.is_turn_lent());
    assert_eq!(values.lend_hand_over(9), Err(Refusal::OutOfOrder { frame: 9, first: 8 }));
    values.end_lent(2);
    assert!(!values.is_lent() && !values.is_turn_lent());
}
