//! Misused turns: each mistake is one clear error, and the exchange remains usable.
#![allow(unsafe_code, clippy::unwrap_used)] // Submissions.

use std::time::Duration;

use bridge::ash::vk;
use bridge::{
    BufferAccess, BufferSpec, Compute, Error, Exchange, ExchangeInfo, LiveObjects, RenderTurn, Stage, SubmitParts,
};
use bridge_tests::{Filler, Gate, Readback, Rig, on_both_backends};

on_both_backends!(
    bad_arguments_are_refused_before_anything_is_created,
    turns_out_of_step_are_refused,
    dropped_turns_are_reported_and_survived,
    lost_submissions_are_reported_until_retracted,
    frames_are_submitted_in_any_order,
    one_turn_is_lent_at_a_time,
    a_lost_submission_is_recovered_after_a_later_frame,
    a_lost_submission_is_recovered_after_a_flush,
    a_flush_is_only_for_slots_that_no_other_signal_recovers,
    closing_proves_the_end_of_a_lost_submission,
    a_held_frame_never_blocks_the_others,
    skipped_computations_cost_no_frame,
    skipped_frames_cost_nothing,
    closing_while_a_turn_is_held_is_refused,
    every_lost_submission_is_waited_for,
);

const LEN: usize = 1024;
const SIZE: u64 = 4 * LEN as u64;

fn spec() -> BufferSpec<u32> {
    BufferSpec::new(LEN, BufferAccess::TRANSFER_READ)
}

fn exchange(compute: &Compute, slots: usize) -> Exchange<BufferSpec<u32>> {
    with_limit(compute, slots, Rig::LONG)
}

/// Creates an exchange with a short timeout, for tests that time out.
fn with_limit(compute: &Compute, slots: usize, timeout: Duration) -> Exchange<BufferSpec<u32>> {
    let info = ExchangeInfo { name: "turns", slots, timeout, ..Default::default() };
    Exchange::new(compute, &info, spec()).unwrap()
}

/// Runs one complete frame and checks it.
fn frame(rig: &Rig, compute: &Compute, exchange: &mut Exchange<BufferSpec<u32>>) {
    let (filler, readback) = (Filler::new(compute), Readback::new(rig.device(), SIZE));
    let mut turn = exchange.begin().unwrap();
    filler.fill(&mut turn, 42);
    let turn = turn.finish().unwrap();
    let source = (turn.resources().as_raw(), SIZE);
    assert_eq!(readback.run(turn, &[source]), Filler::pattern(LEN, 42));
}

fn bad_arguments_are_refused_before_anything_is_created(_: &Rig, compute: &Compute) {
    let info = |slots| ExchangeInfo { name: "bad", slots, ..Default::default() };
    let error = |slots, spec| Exchange::new(compute, &info(slots), spec).unwrap_err().to_string();
    let len = |len| BufferSpec::<u32>::new(len, BufferAccess::TRANSFER_READ);
    assert!(error(0, len(1)).contains("\"bad\": it has 0 slots"));
    assert!(error(3, len(0)).contains("\"bad[0]\": its size is 0 bytes"));
    assert!(error(3, len(usize::MAX / 2)).contains("more bytes than this machine can address"));
    let too_large = error(3, len(usize::MAX / 16));
    assert!(too_large.contains("allows at most") && too_large.contains("max"), "{too_large}");
    let unbounded = ExchangeInfo { frames_in_flight: Some(usize::MAX), ..info(3) };
    let unbounded = Exchange::new(compute, &unbounded, len(1)).unwrap_err().to_string();
    assert!(unbounded.contains("maximum is 1024"), "{unbounded}");
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

fn dropped_turns_are_reported_and_survived(rig: &Rig, compute: &Compute) {
    let mut exchange = exchange(compute, 1);
    drop(exchange.begin().unwrap());
    assert!(matches!(exchange.begin(), Err(Error::TurnLost { frame: 0, stage: Stage::Compute, .. })));
    frame(rig, compute, &mut exchange);
    drop(exchange.begin().unwrap().finish().unwrap());
    assert!(matches!(exchange.begin(), Err(Error::TurnLost { frame: 1, stage: Stage::Render, .. })));
    frame(rig, compute, &mut exchange);
    exchange.close().unwrap();
}

fn lost_submissions_are_reported_until_retracted(rig: &Rig, compute: &Compute) {
    let mut exchange = exchange(compute, 1);
    let turn = exchange.begin().unwrap().finish().unwrap();
    let turn = turn.lend().unwrap();
    // SAFETY: the parts were not used.
    unsafe { turn.not_submitted() };
    frame(rig, compute, &mut exchange);
    let turn = exchange.begin().unwrap().finish().unwrap();
    let turn = turn.lend().unwrap();
    drop(turn);
    for _ in 0..2 {
        assert!(matches!(exchange.begin(), Err(Error::TurnLost { frame: 2, stage: Stage::Submit, .. })));
    }
    // No submission will ever signal this value, so closing signals it.
    exchange.close().unwrap();
}

/// Returns two turns that are computed but not submitted.
fn two_turns(compute: &Compute, exchange: &mut Exchange<BufferSpec<u32>>) -> [RenderTurn<BufferSpec<u32>>; 2] {
    let filler = Filler::new(compute);
    [1000, 2000].map(|base| {
        let mut turn = exchange.begin().unwrap();
        filler.fill(&mut turn, base);
        turn.finish().unwrap()
    })
}

fn frames_are_submitted_in_any_order(rig: &Rig, compute: &Compute) {
    let mut exchange = exchange(compute, 2);
    let [first, second] = two_turns(compute, &mut exchange);
    let readback = Readback::new(rig.device(), SIZE);
    for (turn, base) in [(second, 2000), (first, 1000)] {
        let source = (turn.resources().as_raw(), SIZE);
        assert!(readback.run(turn, &[source]) == Filler::pattern(LEN, base));
    }
    frame(rig, compute, &mut exchange);
    exchange.close().unwrap();
}

fn one_turn_is_lent_at_a_time(rig: &Rig, compute: &Compute) {
    let mut exchange = exchange(compute, 3);
    let [first, second] = two_turns(compute, &mut exchange);
    let third = exchange.begin().unwrap().finish().unwrap();
    let lent = first.lend().unwrap();
    match second.lend() {
        Err(error @ Error::OutOfOrder { frame: 1, first: 0, .. }) => {
            assert!(error.to_string().contains("while frame 0 is lent"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    // SAFETY: refused before anything is submitted.
    let refused = unsafe { third.submit(&[]) };
    assert!(matches!(refused, Err(Error::OutOfOrder { frame: 2, first: 0, .. })));
    // SAFETY: the parts were not used.
    unsafe { lent.not_submitted() };
    assert!(matches!(exchange.begin(), Err(Error::TurnLost { frame: 2, stage: Stage::Render, .. })));
    frame(rig, compute, &mut exchange);
    exchange.close().unwrap();
}

fn a_lost_submission_is_recovered_after_a_later_frame(rig: &Rig, compute: &Compute) {
    let mut exchange = exchange(compute, 2);
    drop(exchange.begin().unwrap().finish().unwrap().lend().unwrap());
    // Its slot is out of use, but the other one is not; a later frame recovers it.
    for _ in 0..4 {
        frame(rig, compute, &mut exchange);
    }
    let turns = two_turns(compute, &mut exchange);
    assert_ne!(turns[0].slot(), turns[1].slot());
    turns.into_iter().for_each(RenderTurn::skip);
    exchange.close().unwrap();
}

/// Submits parts as an engine does, with no commands between the wait and the signal.
fn submit_parts(rig: &Rig, parts: SubmitParts) {
    let signals = [parts.signal()];
    let batch = vk::SubmitInfo2::default().wait_semaphore_infos(parts.waits()).signal_semaphore_infos(&signals);
    let queue = rig.device().queue();
    // SAFETY: the unmodified parts; the exchange outlives the submission, which is waited for
    // below.
    unsafe { queue.submit(&[batch], vk::Fence::null()) }.unwrap();
    // SAFETY: the queue is locked.
    queue.with(|raw| unsafe { rig.device().as_raw().queue_wait_idle(raw) }).unwrap().unwrap();
}

fn a_lost_submission_is_recovered_after_a_flush(rig: &Rig, compute: &Compute) {
    let mut exchange = exchange(compute, 1);
    // Parts that are never submitted and parts that are submitted: the exchange knows about
    // neither.
    for submitted in [false, true] {
        let lent = exchange.begin().unwrap().finish().unwrap().lend().unwrap();
        if submitted {
            submit_parts(rig, lent.parts());
        }
        drop(lent);
        if !submitted {
            let error = exchange.begin().unwrap_err();
            assert!(error.to_string().contains("flush_parts"), "{error}");
        }
        // Dropped by the engine, so the next one has a higher value.
        let first = exchange.flush_parts().unwrap().unwrap();
        let second = exchange.flush_parts().unwrap().unwrap();
        assert!(second.signal().value > first.signal().value);
        submit_parts(rig, second);
        frame(rig, compute, &mut exchange);
        assert!(exchange.flush_parts().unwrap().is_none(), "the frame's signal was later");
    }
    exchange.close().unwrap();
}

fn a_flush_is_only_for_slots_that_no_other_signal_recovers(rig: &Rig, compute: &Compute) {
    let mut exchange = exchange(compute, 3);
    assert!(exchange.flush_parts().unwrap().is_none(), "nothing was submitted");
    frame(rig, compute, &mut exchange);
    assert!(exchange.flush_parts().unwrap().is_none(), "all is known");
    drop(exchange.begin().unwrap().finish().unwrap().lend().unwrap());
    let lent = exchange.begin().unwrap().finish().unwrap().lend().unwrap();
    assert!(exchange.flush_parts().unwrap().is_none(), "the lent turn's signal is later");
    // SAFETY: the parts were not used.
    unsafe { lent.not_submitted() };
    let parts = exchange.flush_parts().unwrap().unwrap();
    submit_parts(rig, parts);
    frame(rig, compute, &mut exchange);
    exchange.close().unwrap();
}

/// Closing and dropping prove the end of a lost turn, whether it was submitted or not; nothing is
/// leaked.
fn closing_proves_the_end_of_a_lost_submission(rig: &Rig, compute: &Compute) {
    let before = LiveObjects::now();
    for (submitted, close) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut exchange = exchange(compute, 1);
        let lent = exchange.begin().unwrap().finish().unwrap().lend().unwrap();
        if submitted {
            submit_parts(rig, lent.parts());
        }
        drop(lent);
        if close {
            exchange.close().unwrap();
        } else {
            drop(exchange);
        }
        assert_eq!(LiveObjects::now(), before, "submitted: {submitted}, closed: {close}");
    }
}

fn a_held_frame_never_blocks_the_others(rig: &Rig, compute: &Compute) {
    let mut exchange = exchange(compute, 3);
    let [held, other] = two_turns(compute, &mut exchange);
    other.skip();
    for _ in 0..6 {
        frame(rig, compute, &mut exchange);
    }
    let readback = Readback::new(rig.device(), SIZE);
    let source = (held.resources().as_raw(), SIZE);
    assert!(readback.run(held, &[source]) == Filler::pattern(LEN, 1000), "what is held is not written");
    exchange.close().unwrap();
}

fn skipped_computations_cost_no_frame(rig: &Rig, compute: &Compute) {
    let mut exchange = exchange(compute, 2);
    let filler = Filler::new(compute);
    for number in 0..5 {
        let mut turn = exchange.begin().unwrap();
        assert_eq!(turn.frame(), number);
        filler.fill_after(&mut turn, 7, Duration::from_millis(1));
        turn.skip().unwrap();
    }
    frame(rig, compute, &mut exchange);
    exchange.close().unwrap();
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
    let error = second.close().unwrap_err();
    assert!(matches!(error, Error::TurnOpen { frame: 0, stage: Stage::Render, .. }), "{error}");
    assert!(error.to_string().ends_with("is still open; submit or skip it first"), "{error}");
    turn.skip();
    let mut third = exchange(compute, 1);
    let lent = third.begin().unwrap().finish().unwrap().lend().unwrap();
    let error = third.close().unwrap_err();
    assert!(matches!(error, Error::TurnOpen { frame: 0, stage: Stage::Submit, .. }), "{error}");
    // SAFETY: nothing was submitted.
    unsafe { lent.not_submitted() };
}

/// Two turns are lent, submitted and dropped; the first is done, the second still runs when the
/// exchange is closed.
fn every_lost_submission_is_waited_for(rig: &Rig, compute: &Compute) {
    let device = rig.device();
    let mut exchange = with_limit(compute, 2, Duration::from_secs(2));
    let gate = Gate::new(device);
    let readbacks = [Readback::new(device, SIZE), Readback::new(device, SIZE)];
    let turns = two_turns(compute, &mut exchange);
    for (index, turn) in turns.into_iter().enumerate() {
        let commands = readbacks[index].record(&turn, &[(turn.resources().as_raw(), SIZE)]);
        let lent = turn.lend().unwrap();
        // The second waits for the gate.
        let (waits, signals) = ([lent.parts().waits()[0], gate.wait_info()], [lent.parts().signal()]);
        let infos = [vk::CommandBufferSubmitInfo::default().command_buffer(commands)];
        let batch = vk::SubmitInfo2::default()
            .command_buffer_infos(&infos)
            .wait_semaphore_infos(&waits[..=index])
            .signal_semaphore_infos(&signals);
        // SAFETY: the turn's parts and its commands, whose buffers are kept until the device is
        // idle.
        unsafe { device.queue().submit(&[batch], vk::Fence::null()) }.unwrap();
        // `submitted` is never called.
    }
    match exchange.close() {
        Err(error @ Error::Timeout { value: 3, .. }) => {
            assert!(error.to_string().contains("turns.rendered"), "{error}");
        }
        other => panic!("closed while a frame is still read: {other:?}"),
    }
    gate.open();
    // SAFETY: no other thread uses this device's queues now.
    unsafe { device.as_raw().device_wait_idle() }.unwrap();
    assert!(readbacks[1].words() == Filler::pattern(LEN, 2000));
}
