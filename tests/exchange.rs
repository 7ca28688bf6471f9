//! Frames written by one side are read by the other: completely, in order and without a host wait.
#![allow(unsafe_code, clippy::unwrap_used)] // Submissions.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bridge::ash::vk;
use bridge::{
    Backend, BufferAccess, BufferSpec, Compute, Error, Exchange, ExchangeInfo, QueueKind, RenderTurn, TimelinePoint,
    Work,
};
use bridge_tests::{Filler, Gate, Readback, Rig, SeenWaits, on_both_backends, on_peers};

on_both_backends!(
    every_frame_crosses_intact,
    vulkan_waits_for_a_slow_computation,
    without_the_wait_vulkan_reads_stale_data,
    computing_waits_for_a_slow_reader,
    a_slow_reader_unknown_to_computing_is_overwritten,
    several_resources_cross_together,
    dropping_with_frames_in_flight_is_safe,
    closing_does_not_wait_for_other_exchanges,
    the_signal_of_a_presented_frame_is_submitted,
);

on_peers!(
    every_frame_crosses_intact,
    vulkan_waits_for_a_slow_computation,
    without_the_wait_vulkan_reads_stale_data,
    computing_waits_for_a_slow_reader,
    a_slow_reader_unknown_to_computing_is_overwritten,
    several_resources_cross_together,
    dropping_with_frames_in_flight_is_safe,
    closing_does_not_wait_for_other_exchanges,
);

const LEN: usize = 64 << 10;
const SIZE: u64 = 4 * LEN as u64;

fn exchange(compute: &Compute, slots: usize) -> Exchange<BufferSpec<u32>> {
    let info = ExchangeInfo { name: "words", slots, timeout: Rig::LONG, ..Default::default() };
    Exchange::new(compute, &info, BufferSpec::new(LEN, BufferAccess::TRANSFER_READ)).unwrap()
}

fn every_frame_crosses_intact(rig: &Rig, compute: &Compute) {
    let filler = Filler::new(compute);
    let readback = Readback::new(rig.device(), SIZE);
    for slots in 1..=4 {
        let mut exchange = exchange(compute, slots);
        for frame in 0..20 {
            let mut turn = exchange.begin().unwrap();
            assert_eq!(turn.frame(), frame);
            let base = u32::try_from(frame).unwrap() * 1000 + 7;
            filler.fill(&mut turn, base);
            let turn = turn.finish().unwrap();
            let source = (turn.resources().as_raw(), turn.resources().size());
            assert!(readback.run(turn, &[source]) == Filler::pattern(LEN, base), "frame {frame} of {slots} slots");
        }
        exchange.close().unwrap();
    }
}

/// Submits commands without the turn's wait, incorrectly on purpose.
fn submit_without_waiting(rig: &Rig, turn: RenderTurn<BufferSpec<u32>>, commands: vk::CommandBuffer) -> TimelinePoint {
    let turn = turn.lend().unwrap();
    let parts = turn.parts();
    let infos = [vk::CommandBufferSubmitInfo::default().command_buffer(commands)];
    let signals = [parts.signal()];
    let batch = vk::SubmitInfo2::default().command_buffer_infos(&infos).signal_semaphore_infos(&signals);
    // SAFETY: incorrect on purpose: `parts.waits()[0]` is missing. The memory is plain words, so a
    // torn read is only wrong data.
    unsafe { rig.device().queue().submit(&[batch], vk::Fence::null()) }.unwrap();
    // SAFETY: it was submitted, although without its wait.
    unsafe { turn.submitted() }
}

fn vulkan_waits_for_a_slow_computation(rig: &Rig, compute: &Compute) {
    let filler = Filler::new(compute);
    let readback = Readback::new(rig.device(), SIZE);
    let mut exchange = exchange(compute, 2);
    for frame in 0..4u32 {
        let gate = Gate::on(compute);
        let mut turn = exchange.begin().unwrap();
        gate.hold(&mut turn);
        filler.fill(&mut turn, frame * 1000);
        let turn = turn.finish().unwrap();
        let computed = turn.computed();
        let commands = readback.record(&turn, &[(turn.resources().as_raw(), SIZE)]);
        // SAFETY: recorded with the turn's barriers; waited for below.
        let point = unsafe { turn.submit(&[commands]) }.unwrap();
        assert!(!computed.is_reached().unwrap() && !point.is_reached().unwrap(), "the gate holds nothing");
        gate.open();
        point.wait(Rig::LONG).unwrap();
        assert!(readback.words() == Filler::pattern(LEN, frame * 1000));
    }
}

/// Negative control of the test above: without the wait, Vulkan reads the previous frame.
fn without_the_wait_vulkan_reads_stale_data(rig: &Rig, compute: &Compute) {
    let filler = Filler::new(compute);
    let readback = Readback::new(rig.device(), SIZE);
    let gate = Gate::on(compute);
    let mut exchange = exchange(compute, 1);
    let mut turn = exchange.begin().unwrap();
    filler.fill(&mut turn, 1000);
    let turn = turn.finish().unwrap();
    let source = (turn.resources().as_raw(), SIZE);
    assert!(readback.run(turn, &[source]) == Filler::pattern(LEN, 1000));

    let mut turn = exchange.begin().unwrap();
    gate.hold(&mut turn);
    filler.fill(&mut turn, 2000);
    let turn = turn.finish().unwrap();
    let computed = turn.computed();
    let commands = readback.record(&turn, &[source]);
    submit_without_waiting(rig, turn, commands).wait(Rig::LONG).unwrap();
    let stale = Filler::pattern(LEN, 1000);
    assert!(readback.words() == stale, "without its wait Vulkan has to read the frame before");
    gate.open();
    computed.wait(Rig::LONG).unwrap();
    exchange.close().unwrap();
}

/// The opposite direction: with one slot, the computation of the second frame must not modify what
/// the first frame still reads.
fn computing_waits_for_a_slow_reader(rig: &Rig, compute: &Compute) {
    let filler = Filler::new(compute);
    let readback = Readback::new(rig.device(), SIZE);
    let gate = Gate::new(rig.device());
    let mut exchange = exchange(compute, 1);

    gate.hold_queue(rig.device(), QueueKind::Graphics);
    let mut turn = exchange.begin().unwrap();
    filler.fill(&mut turn, 1000);
    let turn = turn.finish().unwrap();
    let commands = readback.record(&turn, &[(turn.resources().as_raw(), SIZE)]);
    // SAFETY: recorded with the turn's barriers; waited for below.
    let first = unsafe { turn.submit(&[commands]) }.unwrap();

    // Frame 1 is computed while frame 0 still waits in the queue.
    let mut turn = exchange.begin().unwrap();
    filler.fill(&mut turn, 2000);
    let turn = turn.finish().unwrap();
    assert!(!first.is_reached().unwrap() && !turn.computed().is_reached().unwrap(), "the gate holds nothing");
    gate.open();
    first.wait(Rig::LONG).unwrap();
    assert!(readback.words() == Filler::pattern(LEN, 1000), "frame 1 overwrote what frame 0 was reading");
    turn.computed().wait(Rig::LONG).unwrap();
    turn.skip();
}

/// Negative control of the test above: a reader that the exchange does not know of reads the next
/// frame.
fn a_slow_reader_unknown_to_computing_is_overwritten(rig: &Rig, compute: &Compute) {
    let filler = Filler::new(compute);
    let readback = Readback::new(rig.device(), SIZE);
    let gate = Gate::new(rig.device());
    let mut exchange = exchange(compute, 1);

    let mut turn = exchange.begin().unwrap();
    filler.fill(&mut turn, 1000);
    let turn = turn.finish().unwrap();
    turn.computed().wait(Rig::LONG).unwrap();
    let commands = readback.record(&turn, &[(turn.resources().as_raw(), SIZE)]);
    let turn = turn.lend().unwrap();
    gate.hold_queue(rig.device(), QueueKind::Graphics);
    let infos = [vk::CommandBufferSubmitInfo::default().command_buffer(commands)];
    let batch = vk::SubmitInfo2::default().command_buffer_infos(&infos);
    // SAFETY: the commands' resources live until the queue is idle, which the gate's drop waits
    // for.
    unsafe { rig.device().queue().submit(&[batch], vk::Fence::null()) }.unwrap();
    // SAFETY: incorrect on purpose: they were submitted, although without the turn's semaphores.
    unsafe { turn.not_submitted() };

    let mut turn = exchange.begin().unwrap();
    filler.fill(&mut turn, 2000);
    let turn = turn.finish().unwrap();
    turn.computed().wait(Rig::LONG).unwrap();
    turn.skip();
    drop(gate);
    assert!(readback.words() == Filler::pattern(LEN, 2000), "a reader that nobody waits for has to be overwritten");
    exchange.close().unwrap();
}

fn several_resources_cross_together(rig: &Rig, compute: &Compute) {
    const FEW: usize = 1000;
    let resources = (
        BufferSpec::<[u32; 2]>::new(FEW, BufferAccess::TRANSFER_READ).with_name("pairs"),
        vec![BufferSpec::<u32>::new(FEW, BufferAccess::TRANSFER_READ | BufferAccess::VERTEX_INPUT); 20],
    );
    let mut exchange = Exchange::new(compute, &ExchangeInfo { name: "set", ..Default::default() }, resources).unwrap();
    let readback = Readback::new(rig.device(), 4 * 22 * FEW as u64);
    for frame in 0..5u32 {
        let mut turn = exchange.begin().unwrap();
        match turn.work() {
            Work::Host(host) => host
                .run(move |(pairs, singles)| {
                    pairs.fill([frame, 77]);
                    singles.zip(0..).for_each(|(words, i)| words.fill(frame * 100 + i));
                })
                .unwrap(),
            Work::Cuda(cuda) => {
                let (mut pairs, singles) = cuda.resources;
                let words = vec![[frame, 77]; FEW];
                cuda.stream.memcpy_htod(bytemuck::cast_slice(&words), &mut pairs.bytes_mut()).unwrap();
                for (mut single, i) in singles.zip(0..) {
                    cuda.stream.memcpy_htod(&vec![frame * 100 + i; FEW], &mut single).unwrap();
                }
            }
            _ => unreachable!("no other backend is opened here"),
        }
        let turn = turn.finish().unwrap();
        let (pairs, singles) = turn.resources();
        let mut sources = vec![(pairs.as_raw(), pairs.size())];
        sources.extend(singles.map(|buffer| (buffer.as_raw(), buffer.size())));
        let words = readback.run(turn, &sources);
        let mut expected = [frame, 77].repeat(FEW);
        (0..20).for_each(|i| expected.extend(vec![frame * 100 + i; FEW]));
        let first = words.iter().zip(&expected).position(|(got, want)| got != want);
        assert!(words == expected, "frame {frame}, from word {first:?} on");
    }
}

fn dropping_with_frames_in_flight_is_safe(_: &Rig, compute: &Compute) {
    let seen = SeenWaits::like(compute);
    let compute = seen.compute();
    let filler = Filler::new(compute);
    let readback = Readback::new(seen.device(), SIZE);
    for computes in [true, false] {
        let gate = Gate::on(compute);
        let mut exchange = exchange(compute, 2);
        let mut turn = exchange.begin().unwrap();
        if computes {
            gate.hold(&mut turn);
        }
        filler.fill(&mut turn, 5);
        let turn = turn.finish().unwrap();
        if !computes {
            // Dropping then only waits for Vulkan.
            turn.computed().wait(Rig::LONG).unwrap();
            gate.hold_queue(seen.device(), QueueKind::Graphics);
        }
        let commands = readback.record(&turn, &[(turn.resources().as_raw(), SIZE)]);
        // SAFETY: recorded with the turn's barriers; dropping the exchange waits.
        let point = unsafe { turn.submit(&[commands]) }.unwrap();
        let (reached, waited, _gate) = seen.open_once_waited(gate, || {
            drop(exchange);
            point.is_reached().unwrap()
        });
        assert!(waited && reached, "dropping did not wait for Vulkan: {waited}, {reached}, computes: {computes}");
        assert!(readback.words() == Filler::pattern(LEN, 5));
    }
}

/// An exchange can be closed while another exchange on the same compute side keeps it permanently
/// busy. If closing waited for that exchange, it would time out.
fn closing_does_not_wait_for_other_exchanges(rig: &Rig, compute: &Compute) {
    let stop = AtomicBool::new(false);
    let filler = Filler::new(compute);
    let mut busy = exchange(compute, 3);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut last: Option<TimelinePoint> = None;
            while !stop.load(Ordering::Acquire) {
                let mut turn = busy.begin().unwrap();
                filler.fill_after(&mut turn, 0, Duration::from_millis(3));
                let turn = turn.finish().unwrap();
                let point = turn.computed();
                turn.skip();
                // The next frame is always enqueued before the previous one is done.
                if let Some(point) = last.replace(point) {
                    point.wait(Rig::LONG).unwrap();
                }
            }
        });
        let readback = Readback::new(rig.device(), SIZE);
        let filler = Filler::new(compute);
        let mut closed = exchange(compute, 1);
        let mut turn = closed.begin().unwrap();
        filler.fill(&mut turn, 4);
        let turn = turn.finish().unwrap();
        let source = (turn.resources().as_raw(), SIZE);
        let right = readback.run(turn, &[source]) == Filler::pattern(LEN, 4);
        let result = closed.close();
        stop.store(true, Ordering::Release);
        assert!(right);
        result.unwrap();
    });
}

/// Presenting requires that the signal is submitted: the CPU's signal is waited for up to the
/// exchange's timeout; that of CUDA is submitted even though the work has not begun.
fn the_signal_of_a_presented_frame_is_submitted(_: &Rig, compute: &Compute) {
    let gate = Gate::on(compute);
    let info = ExchangeInfo { name: "words", slots: 1, timeout: Duration::from_millis(300), ..Default::default() };
    let spec = BufferSpec::<u32>::new(LEN, BufferAccess::TRANSFER_READ);
    let mut exchange = Exchange::new(compute, &info, spec).unwrap();
    let mut turn = exchange.begin().unwrap();
    gate.hold(&mut turn);
    let turn = turn.finish().unwrap();
    let prepared = turn.prepare_present();
    assert!(!turn.computed().is_reached().unwrap(), "the gate holds nothing");
    match compute.backend() {
        Backend::Host => assert!(matches!(prepared, Err(Error::Timeout { value: 1, .. })), "{prepared:?}"),
        _ => prepared.unwrap(),
    }
    gate.open();
    turn.computed().wait(Rig::LONG).unwrap();
    turn.prepare_present().unwrap();
    turn.skip();
    exchange.close().unwrap();
}
