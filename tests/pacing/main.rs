//! The host runs ahead of both sides, as far as it is allowed to.
#![allow(unsafe_code, clippy::unwrap_used)] // Submitting, and a stand-in for a Vulkan function.

mod queries;

use std::time::{Duration, Instant};

use bridge::{
    Backend, BufferAccess, BufferSpec, Compute, Error, Exchange, ExchangeInfo, QueueKind, TimelinePoint, Work,
};
use bridge_tests::{Filler, Gate, Readback, Rig, SeenWaits, on_both_backends};

on_both_backends!(frames_are_enqueued_without_waiting, frames_in_flight_are_bounded);

const LEN: usize = 64 << 10;
const SIZE: u64 = 4 * LEN as u64;

/// Every step of three frames is done before the compute side has begun: none of them waits for it.
fn frames_are_enqueued_without_waiting(rig: &Rig, compute: &Compute) {
    let filler = Filler::new(compute);
    let readbacks: Vec<_> = (0..3).map(|_| Readback::new(rig.device(), SIZE)).collect();
    let gate = Gate::on(compute);
    let info = ExchangeInfo { name: "pacing", slots: 3, timeout: Rig::LONG, ..Default::default() };
    let spec = BufferSpec::new(LEN, BufferAccess::TRANSFER_READ);
    let mut exchange = Exchange::<BufferSpec<u32>>::new(compute, &info, spec).unwrap();
    let mut points = Vec::new();
    for (readback, base) in readbacks.iter().zip([1000, 2000, 3000]) {
        let mut turn = exchange.begin().unwrap();
        if points.is_empty() {
            gate.hold(&mut turn);
        }
        filler.fill(&mut turn, base);
        let turn = turn.finish().unwrap();
        let commands = readback.record(&turn, &[(turn.resources().as_raw(), SIZE)]);
        points.push(turn.computed());
        // SAFETY: recorded with the turn's barriers; all are waited for below.
        points.push(unsafe { turn.submit(&[commands]) }.unwrap());
    }
    assert!(points.iter().all(|point| !point.is_reached().unwrap()), "the gate holds nothing");
    gate.open();
    points.iter().for_each(|point| point.wait(Rig::LONG).unwrap());
    let is_named = |point: &TimelinePoint| format!("{point:?}").contains(point.timeline_name());
    assert!(points.iter().all(is_named), "{points:?}");
    for (readback, base) in readbacks.iter().zip([1000, 2000, 3000]) {
        assert_eq!(readback.words(), Filler::pattern(LEN, base));
    }
}

/// With a bound, `begin` blocks until the frame that many frames earlier is done, and no longer.
fn frames_in_flight_are_bounded(_: &Rig, compute: &Compute) {
    let seen = SeenWaits::like(compute);
    let compute = seen.compute();
    let filler = Filler::new(compute);
    let readbacks: Vec<_> = (0..6).map(|_| Readback::new(seen.device(), SIZE)).collect();
    for bound in [1, 2] {
        let bounded = Some(bound);
        let info = ExchangeInfo { name: "bound", frames_in_flight: bounded, timeout: Rig::LONG, ..Default::default() };
        let spec = BufferSpec::new(LEN, BufferAccess::TRANSFER_READ);
        let mut exchange = Exchange::<BufferSpec<u32>>::new(compute, &info, spec).unwrap();
        let mut held: Vec<(Option<Gate>, TimelinePoint)> = Vec::new();
        let mut opened = Vec::new();
        for (frame, readback) in readbacks.iter().enumerate() {
            let before = frame.checked_sub(bound).and_then(|before| held[before].0.take());
            let mut turn = match before {
                Some(gate) => {
                    let (turn, waited, gate) = seen.open_once_waited(gate, || exchange.begin().unwrap());
                    assert!(waited, "frame {frame} began beside {bound} others");
                    opened.push(gate);
                    turn
                }
                None => exchange.begin().unwrap(),
            };
            let running = held.iter().filter(|(_, point)| !point.is_reached().unwrap()).count();
            assert_eq!(running, frame.min(bound - 1), "frames that are held when frame {frame} has begun");
            let gate = Gate::on(compute);
            gate.hold(&mut turn);
            filler.fill(&mut turn, 1);
            let turn = turn.finish().unwrap();
            let commands = readback.record(&turn, &[(turn.resources().as_raw(), SIZE)]);
            // SAFETY: recorded with the turn's barriers; all are waited for below.
            held.push((Some(gate), unsafe { turn.submit(&[commands]) }.unwrap()));
        }
        for (gate, point) in &held {
            gate.iter().for_each(Gate::open);
            point.wait(Rig::LONG).unwrap();
        }
    }
    let none = ExchangeInfo { name: "none", frames_in_flight: Some(0), ..Default::default() };
    let spec = BufferSpec::<u32>::new(LEN, BufferAccess::TRANSFER_READ);
    let error = Exchange::new(compute, &none, spec).unwrap_err().to_string();
    assert!(error.contains("`frames_in_flight` is 0"), "{error}");
}

/// A closure that panics ends its compute side, but does not end waits for Vulkan.
#[test]
fn a_failed_compute_side_ends_no_wait_for_vulkan() {
    Rig::with(Backend::Host, |rig, compute| {
        let info = ExchangeInfo { name: "failed", slots: 2, timeout: Rig::LONG, ..Default::default() };
        let spec = BufferSpec::new(LEN, BufferAccess::TRANSFER_READ);
        let mut exchange = Exchange::<BufferSpec<u32>>::new(compute, &info, spec).unwrap();
        let gate = Gate::new(rig.device());
        gate.hold_queue(rig.device(), QueueKind::Graphics);
        let turn = exchange.begin().unwrap().finish().unwrap();
        // SAFETY: no commands use the slot.
        let rendered = unsafe { turn.submit(&[]) }.unwrap();
        let mut turn = exchange.begin().unwrap();
        let Work::Host(host) = turn.work() else { unreachable!("no other backend is opened here") };
        host.run(|_| panic!("on purpose")).unwrap();
        drop(turn);
        let start = Instant::now();
        while compute.check_alive().is_ok() {
            assert!(start.elapsed() < Rig::LONG, "the panic is not told");
            std::thread::yield_now();
        }
        // Longer than one interval of such a wait, after which another API's context is checked.
        let late = rendered.wait_blocking(Duration::from_millis(250)).unwrap_err();
        assert!(matches!(late, Error::Timeout { .. }), "{late}");
        gate.open();
        rendered.wait_blocking(Rig::LONG).unwrap();
    });
}
