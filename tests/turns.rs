//! Turns held wrong: every mistake is one clear error, and the exchange goes on.
#![allow(unsafe_code, clippy::unwrap_used)] // Submitting.

use std::time::Duration;

use bridge::{BufferSpec, Compute, Consumer, Error, Exchange, ExchangeInfo, Stage};
use bridge_tests::{Filler, Readback, Rig, on_both_backends};

on_both_backends!(
    bad_arguments_are_refused_before_anything_is_made,
    turns_out_of_step_are_refused,
    dropped_turns_are_told_and_survived,
    lost_submissions_are_told_until_retracted,
    frames_are_submitted_in_order,
    skipped_frames_cost_nothing,
    closing_while_a_turn_is_held_is_refused,
);

const LEN: usize = 1024;
const SIZE: u64 = 4 * LEN as u64;

fn spec() -> BufferSpec<u32> {
    BufferSpec::new(LEN, Consumer::TRANSFER_READ)
}

fn exchange(compute: &Compute, slots: usize) -> Exchange<BufferSpec<u32>> {
    Exchange::new(
        compute,
        &ExchangeInfo { name: "turns", slots, timeout: Duration::from_secs(2), ..Default::default() },
        spec(),
    )
    .unwrap()
}

/// One whole frame, checked.
fn frame(rig: &Rig, compute: &Compute, exchange: &mut Exchange<BufferSpec<u32>>) {
    let (filler, readback) = (Filler::new(compute), Readback::new(rig.device(), SIZE));
    let mut turn = exchange.begin().unwrap();
    filler.fill(&mut turn, 42, Duration::ZERO);
    let turn = turn.finish().unwrap();
    let source = (turn.resources().as_raw(), SIZE);
    assert_eq!(readback.run(turn, &[source]), Filler::pattern(LEN, 42));
}

fn bad_arguments_are_refused_before_anything_is_made(_: &Rig, compute: &Compute) {
    let info = |slots| ExchangeInfo { name: "bad", slots, ..Default::default() };
    let error = |slots, spec| Exchange::new(compute, &info(slots), spec).unwrap_err().to_string();
    let len = |len| BufferSpec::<u32>::new(len, Consumer::TRANSFER_READ);
    assert!(error(0, len(1)).contains("\"bad\": it has 0 slots"));
    let unbounded = ExchangeInfo { frames_in_flight: Some(usize::MAX), ..info(3) };
    let unbounded = Exchange::new(compute, &unbounded, len(1)).unwrap_err().to_string();
    assert!(unbounded.contains("`None` stands for no bound"), "{unbounded}");
    assert!(error(3, len(0)).contains("\"bad[0]\": it has no bytes"));
    assert!(error(3, len(usize::MAX / 2)).contains("more bytes than this machine can address"));
    let too_large = error(3, len(usize::MAX / 16));
    assert!(too_large.contains("takes at most") && too_large.contains("max"), "{too_large}");
    let nothing = Exchange::new(compute, &info(3), Vec::<BufferSpec<u32>>::new()).unwrap_err();
    assert!(nothing.to_string().contains("it shares nothing"), "{nothing}");
}

fn turns_out_of_step_are_refused(rig: &Rig, compute: &Compute) {
    let mut exchange = exchange(compute, 2);
    let first = exchange.begin().unwrap();
    assert!(matches!(exchange.begin(), Err(Error::TurnOpen { frame: 0, .. })));
    let first = first.finish().unwrap();
    let second = exchange.begin().unwrap().finish().unwrap();
    match exchange.begin() {
        Err(error @ Error::SlotBusy { slot: 0, frame: 0, slots: 2, .. }) => {
            assert!(error.to_string().contains("more than 2 slots"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    first.skip();
    second.skip();
    frame(rig, compute, &mut exchange);
}

fn dropped_turns_are_told_and_survived(rig: &Rig, compute: &Compute) {
    let mut exchange = exchange(compute, 1);
    drop(exchange.begin().unwrap());
    assert!(matches!(exchange.begin(), Err(Error::TurnLost { frame: 0, stage: Stage::Compute, .. })));
    frame(rig, compute, &mut exchange);
    drop(exchange.begin().unwrap().finish().unwrap());
    assert!(matches!(exchange.begin(), Err(Error::TurnLost { frame: 1, stage: Stage::Render, .. })));
    frame(rig, compute, &mut exchange);
    exchange.close().unwrap();
}

fn lost_submissions_are_told_until_retracted(rig: &Rig, compute: &Compute) {
    let mut exchange = exchange(compute, 1);
    let mut turn = exchange.begin().unwrap().finish().unwrap();
    turn.submit_parts().unwrap();
    // SAFETY: the parts were not used.
    unsafe { turn.not_submitted() };
    frame(rig, compute, &mut exchange);
    let mut turn = exchange.begin().unwrap().finish().unwrap();
    turn.submit_parts().unwrap();
    turn.skip();
    for _ in 0..2 {
        assert!(matches!(exchange.begin(), Err(Error::TurnLost { frame: 2, stage: Stage::Submit, .. })));
    }
    // Nobody will ever signal it: closing gives up at its limit instead of hanging, and says what it waited for.
    match exchange.close() {
        Err(error @ Error::Timeout { value: 3, last_seen: 2, .. }) => {
            assert!(error.to_string().contains("turns.rendered"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

fn frames_are_submitted_in_order(rig: &Rig, compute: &Compute) {
    let mut exchange = exchange(compute, 2);
    let first = exchange.begin().unwrap().finish().unwrap();
    let mut second = exchange.begin().unwrap().finish().unwrap();
    assert!(matches!(second.submit_parts(), Err(Error::OutOfOrder { frame: 1, first: 0, .. })));
    let readback = Readback::new(rig.device(), SIZE);
    let commands = readback.record(&second, &[]);
    // SAFETY: recorded with the turn's barriers; refused before anything is submitted.
    let refused = unsafe { second.submit(rig.device().queue(), &[commands]) };
    assert!(matches!(refused, Err(Error::OutOfOrder { .. })));
    first.skip();
    assert!(matches!(exchange.begin(), Err(Error::TurnLost { frame: 1, stage: Stage::Render, .. })));
    frame(rig, compute, &mut exchange);
}

fn skipped_frames_cost_nothing(rig: &Rig, compute: &Compute) {
    let mut exchange = exchange(compute, 2);
    for _ in 0..10 {
        exchange.begin().unwrap().finish().unwrap().skip();
    }
    frame(rig, compute, &mut exchange);
    for _ in 0..3 {
        exchange.begin().unwrap().finish().unwrap().skip();
    }
    frame(rig, compute, &mut exchange);
    exchange.close().unwrap();
}

fn closing_while_a_turn_is_held_is_refused(_: &Rig, compute: &Compute) {
    let mut first = exchange(compute, 1);
    let turn = first.begin().unwrap();
    assert!(matches!(first.close(), Err(Error::TurnOpen { frame: 0, .. })));
    drop(turn);
    let mut second = exchange(compute, 1);
    let turn = second.begin().unwrap().finish().unwrap();
    assert!(matches!(second.close(), Err(Error::SlotBusy { frame: 0, .. })));
    turn.skip();
}
