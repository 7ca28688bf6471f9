//! Frames on other queues than the main one: the same contents, the same order.
#![allow(unsafe_code, clippy::unwrap_used)] // Submitting.

use std::time::Duration;

use bridge::{BufferSpec, Compute, Consumer, Exchange, ExchangeInfo, QueueKind};
use bridge_tests::{Filler, Need, Readback, Rig, on_both_backends, skip, skip_case};

on_both_backends!(frames_cross_on_every_queue, a_queue_is_refused_what_it_cannot_do);

const LEN: usize = 64 << 10;
const SIZE: u64 = 4 * LEN as u64;

fn frames_cross_on_every_queue(rig: &Rig, compute: &Compute) {
    let filler = Filler::new(compute);
    for kind in [QueueKind::Graphics, QueueKind::Compute, QueueKind::Transfer] {
        let info = ExchangeInfo { name: "queues", slots: 2, queue: kind, timeout: Rig::LONG, ..Default::default() };
        let spec = BufferSpec::<u32>::new(LEN, Consumer::TRANSFER_READ);
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
            filler.fill(&mut turn, frame * 1000, Duration::from_millis(u64::from(frame % 3) * 5));
            let turn = turn.finish().unwrap();
            let source = (turn.resources().as_raw(), SIZE);
            assert!(readback.run(turn, &[source]) == Filler::pattern(LEN, frame * 1000), "frame {frame}, {kind}");
        }
        exchange.close().unwrap();
    }
}

fn a_queue_is_refused_what_it_cannot_do(rig: &Rig, compute: &Compute) {
    if rig.device().queue_of(QueueKind::Transfer).is_none() {
        return skip(Need::Other, "there is no transfer queue here");
    }
    let info = ExchangeInfo { name: "queues", queue: QueueKind::Transfer, ..Default::default() };
    let drawn = BufferSpec::<u32>::new(LEN, Consumer::VERTEX_INPUT);
    let error = Exchange::new(compute, &info, drawn).unwrap_err().to_string();
    assert!(error.contains("transfer queue has no VERTEX_INPUT"), "{error}");
}
