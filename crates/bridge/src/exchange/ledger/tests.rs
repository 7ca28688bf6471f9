use proptest::prelude::*;

use super::*;

fn never() -> u64 {
    panic!("asked for the timeline without need")
}

/// Begins a frame and finishes its compute turn.
pub(super) fn computed(ledger: &mut Ledger) -> NewFrame {
    let begun = ledger.begin(never).unwrap();
    ledger.finish(begun.slot, begun.frame + 1);
    begun
}

pub(super) fn submit(ledger: &mut Ledger, begun: NewFrame) -> u64 {
    let value = ledger.next_rendered_value(begun.frame).unwrap();
    ledger.mark_submitted(begun.slot, value);
    value
}

#[test]
fn slot_is_reused_after_its_last_use() {
    let mut ledger = Ledger::new(FirstSide::Compute, 2);
    for frame in 0..6 {
        let begun = computed(&mut ledger);
        let wait = (frame >= 2).then(|| frame - 1);
        assert_eq!(begun, NewFrame { frame, slot: (frame % 2) as usize, wait });
        assert_eq!(submit(&mut ledger, begun), frame + 1);
    }
    assert_eq!(ledger.last_rendered(), 6);
}

#[test]
fn a_held_slot_never_blocks_the_others() {
    let mut ledger = Ledger::new(FirstSide::Compute, 3);
    let held = computed(&mut ledger);
    for _ in 0..10 {
        let begun = computed(&mut ledger);
        assert_ne!(begun.slot, held.slot);
        submit(&mut ledger, begun);
    }
    assert_eq!(submit(&mut ledger, held), 11, "the value belongs to the signal");
}

#[test]
fn frames_are_submitted_in_any_order_unless_a_turn_is_lent() {
    let mut ledger = Ledger::new(FirstSide::Compute, 4);
    let turns: Vec<_> = (0..4).map(|_| computed(&mut ledger)).collect();
    assert_eq!(submit(&mut ledger, turns[2]), 1);
    assert!(!ledger.values().is_lent());
    assert_eq!(ledger.lend(turns[3].slot, 3), Ok(2));
    assert!(ledger.values().is_lent());
    assert_eq!(ledger.lend(turns[0].slot, 0), Err(Refusal::OutOfOrder { frame: 0, first: 3 }));
    assert_eq!(ledger.next_rendered_value(0), Err(Refusal::OutOfOrder { frame: 0, first: 3 }));
    ledger.retract(turns[3].slot);
    assert_eq!(ledger.last_rendered(), 1, "nobody waits for what never comes");
    assert_eq!(submit(&mut ledger, turns[0]), 2);
}

#[test]
fn unsubmitted_frame_blocks_its_slot_until_skipped() {
    let mut ledger = Ledger::new(FirstSide::Compute, 1);
    ledger.begin(never).unwrap();
    assert_eq!(ledger.begin(never), Err(Refusal::TurnOpen { frame: 0, stage: Stage::Compute }));
    ledger.finish(0, 1);
    assert_eq!(ledger.begin(never), Err(Refusal::SlotBusy { slot: 0, frame: 0 }));
    ledger.skip_render(0);
    assert_eq!(ledger.begin(never), Ok(NewFrame { frame: 1, slot: 0, wait: None }));
    ledger.skip_compute(0);
    assert_eq!(ledger.begin(never), Ok(NewFrame { frame: 2, slot: 0, wait: None }));
}

#[test]
fn lost_turns_are_reported_once_and_lost_submissions_until_a_later_value() {
    let mut ledger = Ledger::new(FirstSide::Compute, 1);
    ledger.begin(never).unwrap();
    ledger.drop_compute(0, None);
    assert_eq!(ledger.begin(never), Err(Refusal::TurnLost { frame: 0, stage: Stage::Compute }));
    assert_eq!(computed(&mut ledger).frame, 0, "the frame is begun again");
    ledger.drop_render(0);
    assert_eq!(ledger.begin(never), Err(Refusal::TurnLost { frame: 0, stage: Stage::Render }));
    computed(&mut ledger);
    ledger.lend(0, 1).unwrap();
    ledger.drop_render(0);
    for _ in 0..2 {
        assert_eq!(ledger.begin(|| 0), Err(Refusal::TurnLost { frame: 1, stage: Stage::Submit }));
    }
    assert_eq!(ledger.begin(|| 1), Ok(NewFrame { frame: 2, slot: 0, wait: Some(1) }));
}

#[test]
fn every_lost_submission_is_waited_for() {
    let mut ledger = Ledger::new(FirstSide::Compute, 2);
    let turns = [computed(&mut ledger), computed(&mut ledger)];
    for turn in turns {
        ledger.lend(turn.slot, turn.frame).unwrap();
        ledger.drop_render(turn.slot);
    }
    assert_eq!(ledger.last_rendered(), 2);
}

#[test]
fn flush_value_exceeds_all_lost_submissions() {
    let mut ledger = Ledger::new(FirstSide::Compute, 2);
    assert_eq!(ledger.flush(), None, "nothing was submitted");
    let turns = [computed(&mut ledger), computed(&mut ledger)];
    ledger.lend(turns[0].slot, 0).unwrap();
    assert_eq!(ledger.flush(), None, "what is lent signals later itself");
    ledger.drop_render(turns[0].slot);
    assert_eq!(ledger.flush(), Some(2));
    assert_eq!(ledger.flush(), Some(3), "the parts of the first may have been dropped");
    assert_eq!(ledger.last_rendered(), 3);
    ledger.mark_flushed(3);
    assert_eq!(ledger.flush(), None);
    assert_eq!(submit(&mut ledger, turns[1]), 4);
    assert_eq!(ledger.begin(|| 0), Ok(NewFrame { frame: 2, slot: 1, wait: Some(4) }), "not reached");
    ledger.skip_compute(1);
    assert_eq!(ledger.begin(|| 3), Ok(NewFrame { frame: 3, slot: 0, wait: Some(1) }));
}

#[test]
fn a_later_submission_needs_no_flush() {
    let mut ledger = Ledger::new(FirstSide::Compute, 2);
    let turns = [computed(&mut ledger), computed(&mut ledger)];
    ledger.lend(turns[0].slot, 0).unwrap();
    ledger.drop_render(turns[0].slot);
    submit(&mut ledger, turns[1]);
    assert_eq!(ledger.flush(), None);
}

#[test]
fn render_first_frames_wait_for_the_compute_side() {
    let mut ledger = Ledger::new(FirstSide::Render, 1);
    let begun = ledger.begin(never).unwrap();
    submit(&mut ledger, begun);
    ledger.finish(0, 1);
    ledger.begin(never).unwrap();
    ledger.skip_render(0);
    assert_eq!(ledger.begin(never).unwrap().wait, Some(1), "skipped");
    ledger.drop_render(0);
    assert!(matches!(ledger.begin(never), Err(Refusal::TurnLost { frame: 2, stage: Stage::Render })));
    assert_eq!(ledger.begin(never).unwrap().wait, Some(1), "dropped");
    ledger.lend(0, 3).unwrap();
    ledger.retract(0);
    assert_eq!(ledger.begin(never).unwrap().wait, Some(1), "lent and retracted");
    ledger.lend(0, 4).unwrap();
    ledger.drop_render(0);
    assert!(matches!(ledger.begin(|| 1), Err(Refusal::TurnLost { frame: 4, stage: Stage::Submit })));
    assert_eq!(ledger.begin(|| 2).unwrap().wait, Some(1), "it may never have been submitted");
    submit(&mut ledger, NewFrame { frame: 5, slot: 0, wait: None });
    ledger.drop_compute(0, Some(2));
    assert!(matches!(ledger.begin(never), Err(Refusal::TurnLost { frame: 5, stage: Stage::Compute })));
    assert_eq!(ledger.begin(never).unwrap().wait, Some(2));
}

#[test]
fn unsignaled_slot_is_not_given_out() {
    let mut ledger = Ledger::new(FirstSide::Render, 2);
    let begun = ledger.begin(never).unwrap();
    submit(&mut ledger, begun);
    assert_eq!(ledger.unsignaled(), None);
    ledger.drop_compute(0, None);
    ledger.begin(never).unwrap_err();
    for _ in 0..3 {
        assert_eq!(ledger.begin(never).unwrap().slot, 1);
        ledger.skip_render(1);
    }
    assert_eq!(ledger.unsignaled(), Some(0));
    ledger.mark_signaled(0, 1);
    assert_eq!(ledger.begin(never).unwrap().slot, 1, "never used by the compute side");
    ledger.skip_render(1);
    assert_eq!(ledger.unsignaled(), None);
}

#[test]
fn unsignaled_slot_is_reported_with_its_frame() {
    let mut ledger = Ledger::new(FirstSide::Render, 1);
    let begun = ledger.begin(never).unwrap();
    submit(&mut ledger, begun);
    ledger.drop_compute(0, None);
    for _ in 0..3 {
        assert_eq!(ledger.begin(never), Err(Refusal::TurnLost { frame: 0, stage: Stage::Compute }));
    }
}

/// State of a turn of the model.
#[derive(Debug, Clone, Copy)]
struct Held {
    begun: NewFrame,
    lent: Option<u64>,
}

proptest! {
    /// For any steps in any order, in both directions: no slot is given out twice or while a
    /// submission of unknown outcome may use it, the values of `rendered` rise strictly, a
    /// slot's next use waits for its last one, and the final wait covers every value that was or
    /// may have been submitted. A flush is refused only if a later signal is certain.
    #[test]
    fn all_schedules_keep_the_invariants(
        vulkan in any::<bool>(), slots in 1usize..5, steps in prop::collection::vec((0u8..10, any::<bool>()), 1..200),
    ) {
        let first = if vulkan { FirstSide::Render } else { FirstSide::Compute };
        let mut ledger = Ledger::new(first, slots);
        let (mut computing, mut rendering) = (None::<NewFrame>, Vec::<Held>::new());
        let mut last_use = vec![None; slots];
        let mut unknown: Vec<(usize, u64)> = Vec::new();
        let (mut last_computed, mut last_rendered, mut certain, mut reached) = (0, 0, 0, 0);
        for (step, coin) in steps {
            match step {
                0 | 1 => if let Ok(begun) = ledger.begin(|| reached) {
                    unknown.retain(|(_, value)| *value > reached);
                    prop_assert!(computing.is_none());
                    prop_assert!(rendering.iter().all(|held| held.begun.slot != begun.slot));
                    prop_assert!(unknown.iter().all(|(slot, _)| *slot != begun.slot));
                    prop_assert!(begun.wait >= last_use[begun.slot]);
                    if vulkan { rendering.push(Held { begun, lent: None }) } else { computing = Some(begun) }
                },
                2 | 3 => if let Some(begun) = computing.take() {
                    last_computed += 1;
                    ledger.finish(begun.slot, last_computed);
                    if vulkan { last_use[begun.slot] = Some(last_computed) } else { rendering.push(Held { begun, lent: None }) }
                },
                4 => if !vulkan && let Some(begun) = computing.take() {
                    if coin { ledger.skip_compute(begun.slot) } else { ledger.drop_compute(begun.slot, None) }
                },
                5 if !rendering.is_empty() => {
                    let index = if coin { 0 } else { rendering.len() - 1 };
                    let Held { begun, lent } = rendering[index];
                    let value = match (lent, ledger.next_rendered_value(begun.frame)) {
                        (Some(value), Err(_)) | (None, Ok(value)) => value,
                        (None, Err(_)) => {
                            prop_assert!(rendering.iter().any(|held| held.lent.is_some()));
                            continue;
                        }
                        (Some(_), Ok(_)) => return Err(TestCaseError::fail("a second value while one is lent")),
                    };
                    prop_assert!(value > last_rendered);
                    last_rendered = value;
                    rendering.remove(index);
                    ledger.mark_submitted(begun.slot, value);
                    certain = value;
                    if vulkan { computing = Some(begun) } else { last_use[begun.slot] = Some(value) }
                },
                6 => if let Some(held) = rendering.last_mut() {
                    let open = ledger.next_rendered_value(held.begun.frame).is_err();
                    match ledger.lend(held.begun.slot, held.begun.frame) {
                        Ok(value) => held.lent = Some(value),
                        Err(_) => prop_assert!(open),
                    }
                },
                7 => if let Some(Held { begun, lent }) = rendering.pop() {
                    match (lent, coin) {
                        (None, true) => ledger.skip_render(begun.slot),
                        (Some(_), true) => ledger.retract(begun.slot),
                        (None, false) => ledger.drop_render(begun.slot),
                        (Some(value), false) => {
                            ledger.drop_render(begun.slot);
                            unknown.push((begun.slot, value));
                            // It may have been submitted, so no later submission may signal its
                            // value again.
                            last_rendered = value;
                        }
                    }
                },
                8 => {
                    let lent = rendering.iter().any(|held| held.lent.is_some());
                    match ledger.flush() {
                        Some(value) => {
                            prop_assert!(!lent && value > last_rendered);
                            last_rendered = value;
                            if coin {
                                ledger.mark_flushed(value);
                                certain = value;
                            }
                        }
                        None => prop_assert!(lent || certain == last_rendered),
                    }
                }
                _ => reached = last_rendered,
            }
            prop_assert!(ledger.last_rendered() >= last_rendered);
        }
    }
}
