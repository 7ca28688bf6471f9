//! Frames on other queues than the main one: the same contents, the same order.
#![allow(unsafe_code, clippy::unwrap_used)] // Submitting.

use std::time::Duration;

use bridge::ash::vk;
use bridge::{BufferAccess, BufferSpec, Compute, Exchange, ExchangeInfo, QueueKind};
use bridge_tests::{Filler, Gate, Need, Readback, Rig, on_both_backends, skip, skip_case};

on_both_backends!(
    frames_cross_on_every_queue,
    without_the_wait_every_queue_reads_stale_data,
    a_queue_is_refused_what_it_cannot_do,
);

const LEN: usize = 64 << 10;
const SIZE: u64 = 4 * LEN as u64;

fn frames_cross_on_every_queue(rig: &Rig, compute: &Compute) {
    let filler = Filler::new(compute);
    for kind in [QueueKind::Graphics, QueueKind::Compute, QueueKind::Transfer] {
        let info = ExchangeInfo { name: "queues", slots: 2, queue: kind, timeout: Rig::LONG, ..Default::default() };
        let spec = BufferSpec::<u32>::new(LEN, BufferAccess::TRANSFER_READ);
        if rig.device().queue_of(kind).is_none() {
            let error = Exchange::new(compute, &info, spec).unwrap_err().to_string();
            assert!(error.contains(&format!("has no {kind} queue")), "{error}");
            skip_case(Need::Other, &format!("a {kind} queue"), &error);
            continue;
        }
        let mut exchange = Exchange::new(compute, &info, spec).unwrap();
        let readback = Readback::on(rig.device(), SIZE, kind);
        for frame in 0..10u32 {
            let mut turn = exchange.begin().unwrap();
            filler.fill_after(&mut turn, frame * 1000, Duration::from_millis(u64::from(frame % 3) * 5));
            let turn = turn.finish().unwrap();
            let source = (turn.resources().as_raw(), SIZE);
            assert!(readback.run(turn, &[source]) == Filler::pattern(LEN, frame * 1000), "frame {frame}, {kind}");
        }
        exchange.close().unwrap();
    }
}

/// The negative control of the test above, on each queue: without the turn's wait it reads the frame before.
fn without_the_wait_every_queue_reads_stale_data(rig: &Rig, compute: &Compute) {
    let filler = Filler::new(compute);
    for kind in [QueueKind::Graphics, QueueKind::Compute, QueueKind::Transfer] {
        let Some(queue) = rig.device().queue_of(kind) else {
            skip_case(Need::Other, &format!("a {kind} queue"), &format!("there is no {kind} queue here"));
            continue;
        };
        let readback = Readback::on(rig.device(), SIZE, kind);
        let gate = Gate::on(compute);
        let info = ExchangeInfo { name: "queues", slots: 1, queue: kind, timeout: Rig::LONG, ..Default::default() };
        let mut exchange =
            Exchange::new(compute, &info, BufferSpec::<u32>::new(LEN, BufferAccess::TRANSFER_READ)).unwrap();
        let mut turn = exchange.begin().unwrap();
        filler.fill(&mut turn, 1000);
        let turn = turn.finish().unwrap();
        let source = (turn.resources().as_raw(), SIZE);
        assert!(readback.run(turn, &[source]) == Filler::pattern(LEN, 1000), "{kind}");

        let mut turn = exchange.begin().unwrap();
        gate.hold(&mut turn);
        filler.fill(&mut turn, 2000);
        let turn = turn.finish().unwrap();
        let computed = turn.computed().clone();
        let commands = readback.record(&turn, &[source]);
        let turn = turn.lend().unwrap();
        let (infos, signals) =
            ([vk::CommandBufferSubmitInfo::default().command_buffer(commands)], [turn.parts().signal]);
        let batch = vk::SubmitInfo2::default().command_buffer_infos(&infos).signal_semaphore_infos(&signals);
        // SAFETY: wrong on purpose: the turn's wait is missing. The memory is plain words.
        unsafe { queue.submit(&[batch], vk::Fence::null()) }.unwrap();
        // SAFETY: it was submitted, if without its wait.
        unsafe { turn.submitted() }.wait(Rig::LONG).unwrap();
        assert!(
            readback.words() == Filler::pattern(LEN, 1000),
            "without its wait the {kind} queue has to read stale data"
        );
        gate.open();
        computed.wait(Rig::LONG).unwrap();
        exchange.close().unwrap();
    }
}

fn a_queue_is_refused_what_it_cannot_do(rig: &Rig, compute: &Compute) {
    if rig.device().queue_of(QueueKind::Transfer).is_none() {
        return skip(Need::Other, "there is no transfer queue here");
    }
    let info = ExchangeInfo { name: "queues", queue: QueueKind::Transfer, ..Default::default() };
    let drawn = BufferSpec::<u32>::new(LEN, BufferAccess::VERTEX_INPUT);
    let error = Exchange::new(compute, &info, drawn).unwrap_err().to_string();
    assert!(error.contains("transfer queue has no VERTEX_INPUT"), "{error}");
}
