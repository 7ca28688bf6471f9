//! The host runs ahead of both sides. In a process of its own: work of other tests on the same GPU would be timed with it.
#![allow(unsafe_code, clippy::unwrap_used)] // Submitting.

use std::time::{Duration, Instant};

use bridge::{BufferSpec, Compute, Consumer, Exchange, ExchangeInfo, TimelinePoint};
use bridge_tests::{Filler, Readback, Rig};

const LEN: usize = 64 << 10;
const SIZE: u64 = 4 * LEN as u64;
/// Far longer than the host needs to enqueue a frame.
const SLOW: Duration = Duration::from_millis(100);

/// One test after the other.
#[test]
fn the_host_waits_for_nothing() {
    Rig::case(bridge::Backend::Host, "the_host_waits_for_nothing", frames_are_enqueued_without_waiting);
    Rig::case(bridge::Backend::Cuda, "the_host_waits_for_nothing", frames_are_enqueued_without_waiting);
    Rig::case(bridge::Backend::Host, "the_host_waits_where_told", no_more_frames_are_in_flight_than_may_be);
    Rig::case(bridge::Backend::Cuda, "the_host_waits_where_told", no_more_frames_are_in_flight_than_may_be);
}

/// With a bound, `begin` blocks until the frame that many before is done, and no longer.
fn no_more_frames_are_in_flight_than_may_be(rig: &Rig, compute: &Compute) {
    let filler = Filler::new(compute);
    let readbacks: Vec<_> = (0..6).map(|_| Readback::new(rig.device(), SIZE)).collect();
    for bound in [1, 2] {
        let bounded = Some(bound);
        let info = ExchangeInfo { name: "bound", frames_in_flight: bounded, timeout: Rig::LONG, ..Default::default() };
        let spec = BufferSpec::new(LEN, Consumer::TRANSFER_READ);
        let mut exchange = Exchange::<BufferSpec<u32>>::new(compute, &info, spec).unwrap();
        let mut points: Vec<TimelinePoint> = Vec::new();
        for readback in &readbacks {
            let mut turn = exchange.begin().unwrap();
            let running = points.iter().filter(|point| !point.is_reached().unwrap()).count();
            assert!(running < bound, "{running} frames are unfinished when another begins, {bound} may be with it");
            filler.fill(&mut turn, 1, SLOW / 4);
            let turn = turn.finish().unwrap();
            let commands = readback.record(&turn, &[(turn.resources().as_raw(), SIZE)]);
            // SAFETY: recorded with the turn's barriers; all are waited for below.
            points.push(unsafe { turn.submit(&[commands]) }.unwrap());
            assert!(!points[points.len() - 1].is_reached().unwrap(), "the frame is too fast to prove anything");
        }
        points[points.len() - 1].wait(Rig::LONG).unwrap();
    }
    let none = ExchangeInfo { name: "none", frames_in_flight: Some(0), ..Default::default() };
    let spec = BufferSpec::<u32>::new(LEN, Consumer::TRANSFER_READ);
    let error = Exchange::new(compute, &none, spec).unwrap_err().to_string();
    assert!(error.contains("0 frames in flight"), "{error}");
}

fn frames_are_enqueued_without_waiting(rig: &Rig, compute: &Compute) {
    let filler = Filler::new(compute);
    let readbacks: Vec<_> = (0..3).map(|_| Readback::new(rig.device(), SIZE)).collect();
    let info = ExchangeInfo { name: "pacing", slots: 3, timeout: Rig::LONG, ..Default::default() };
    let spec = BufferSpec::new(LEN, Consumer::TRANSFER_READ);
    let mut exchange = Exchange::<BufferSpec<u32>>::new(compute, &info, spec).unwrap();
    // The first launch of a kernel loads it.
    let mut turn = exchange.begin().unwrap();
    filler.fill(&mut turn, 0, Duration::ZERO);
    let turn = turn.finish().unwrap();
    let source = (turn.resources().as_raw(), SIZE);
    readbacks[0].run(turn, &[source]);

    let start = Instant::now();
    let mut steps = Vec::new();
    let mut last = None;
    for (readback, base) in readbacks.iter().zip([1000, 2000, 3000]) {
        let mut turn = exchange.begin().unwrap();
        steps.push(("begin", start.elapsed()));
        filler.fill(&mut turn, base, SLOW);
        steps.push(("work", start.elapsed()));
        let turn = turn.finish().unwrap();
        steps.push(("finish", start.elapsed()));
        let commands = readback.record(&turn, &[(turn.resources().as_raw(), SIZE)]);
        steps.push(("record", start.elapsed()));
        // SAFETY: recorded with the turn's barriers; all are waited for below.
        last = Some(unsafe { turn.submit(&[commands]) }.unwrap());
        steps.push(("submit", start.elapsed()));
    }
    assert!(start.elapsed() < SLOW, "three frames of {SLOW:?} on {:?}: {steps:?}", compute.backend());
    last.unwrap().wait(Rig::LONG).unwrap();
    assert!(start.elapsed() >= SLOW * 3);
    for (readback, base) in readbacks.iter().zip([1000, 2000, 3000]) {
        assert_eq!(readback.words(), Filler::pattern(LEN, base));
    }
}
