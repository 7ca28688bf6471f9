//! What one side writes, the other reads: whole, in order, without a wait on the host.
#![allow(unsafe_code, clippy::unwrap_used)] // Submitting.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bridge::{BufferSpec, Compute, Consumer, Exchange, ExchangeInfo, TimelinePoint, Work};
use bridge_tests::{Filler, Readback, Rig, on_both_backends};

on_both_backends!(
    every_frame_crosses_whole,
    vulkan_waits_for_a_slow_computation,
    without_the_wait_vulkan_reads_stale_data,
    computing_waits_for_a_slow_reader,
    several_resources_cross_together,
    dropping_with_frames_in_flight_is_safe,
    closing_does_not_wait_for_others,
);

const LEN: usize = 64 << 10;
const SIZE: u64 = 4 * LEN as u64;
/// Far longer than a frame takes when nobody waits.
const SLOW: Duration = Duration::from_millis(60);

fn exchange(compute: &Compute, slots: usize) -> Exchange<BufferSpec<u32>> {
    let info = ExchangeInfo { name: "words", slots, timeout: Rig::LONG, ..Default::default() };
    Exchange::new(compute, &info, BufferSpec::new(LEN, Consumer::TRANSFER_READ)).unwrap()
}

fn every_frame_crosses_whole(rig: &Rig, compute: &Compute) {
    let filler = Filler::new(compute);
    let readback = Readback::new(rig.device(), SIZE);
    for slots in 1..=4 {
        let mut exchange = exchange(compute, slots);
        for frame in 0..20 {
            let mut turn = exchange.begin().unwrap();
            assert_eq!(turn.frame(), frame);
            let base = u32::try_from(frame).unwrap() * 1000 + 7;
            filler.fill(&mut turn, base, Duration::ZERO);
            let turn = turn.finish().unwrap();
            let source = (turn.resources().as_raw(), turn.resources().size());
            assert!(readback.run(turn, &[source]) == Filler::pattern(LEN, base), "frame {frame} of {slots} slots");
        }
        exchange.close().unwrap();
    }
}

fn vulkan_waits_for_a_slow_computation(rig: &Rig, compute: &Compute) {
    let filler = Filler::new(compute);
    let readback = Readback::new(rig.device(), SIZE);
    let mut exchange = exchange(compute, 2);
    for frame in 0..4u32 {
        let mut turn = exchange.begin().unwrap();
        filler.fill(&mut turn, frame * 1000, SLOW);
        let turn = turn.finish().unwrap();
        assert!(!turn.computed().is_reached().unwrap(), "the computation is too fast to prove anything");
        let source = (turn.resources().as_raw(), SIZE);
        assert!(readback.run(turn, &[source]) == Filler::pattern(LEN, frame * 1000));
    }
}

/// The negative control of the test above: the same, with the wait left out, must fail to see the frame.
fn without_the_wait_vulkan_reads_stale_data(rig: &Rig, compute: &Compute) {
    use bridge::ash::vk;

    let filler = Filler::new(compute);
    let readback = Readback::new(rig.device(), SIZE);
    let mut exchange = exchange(compute, 1);
    let mut turn = exchange.begin().unwrap();
    filler.fill(&mut turn, 1000, Duration::ZERO);
    let turn = turn.finish().unwrap();
    let source = (turn.resources().as_raw(), SIZE);
    assert!(readback.run(turn, &[source]) == Filler::pattern(LEN, 1000));

    let mut turn = exchange.begin().unwrap();
    filler.fill(&mut turn, 2000, SLOW);
    let turn = turn.finish().unwrap();
    let commands = readback.record(&turn, &[source]);
    let turn = turn.lend().unwrap();
    let parts = turn.parts();
    let infos = [vk::CommandBufferSubmitInfo::default().command_buffer(commands)];
    let signals = [parts.signal];
    let batch = vk::SubmitInfo2::default().command_buffer_infos(&infos).signal_semaphore_infos(&signals);
    // SAFETY: wrong on purpose: `parts.wait` is missing. The memory is plain words, so a torn read is only wrong data.
    unsafe { rig.device().queue().submit(&[batch], vk::Fence::null()) }.unwrap();
    // SAFETY: it was submitted, if without its wait.
    let rendered = unsafe { turn.submitted() };
    rendered.wait(Rig::LONG).unwrap();
    assert!(readback.words() != Filler::pattern(LEN, 2000), "the order test cannot tell a missing wait");
    exchange.close().unwrap();
}

/// The other way round: with one slot, the second frame's computation must not touch what the first still reads.
fn computing_waits_for_a_slow_reader(rig: &Rig, compute: &Compute) {
    let filler = Filler::new(compute);
    // Vulkan is slow because its frame waits for a slow computation of another exchange on the same queue.
    let (slow, fast) = (Readback::new(rig.device(), SIZE), Readback::new(rig.device(), SIZE));
    let other = Compute::new(rig.device(), compute.backend()).unwrap();
    let slow_filler = Filler::new(&other);
    let mut blocker = exchange(&other, 1);
    let mut exchange = exchange(compute, 1);

    let mut turn = blocker.begin().unwrap();
    slow_filler.fill(&mut turn, 0, SLOW * 5);
    let turn = turn.finish().unwrap();
    let commands = slow.record(&turn, &[(turn.resources().as_raw(), SIZE)]);
    // SAFETY: recorded with the turn's barriers; waited for below.
    let slow_frame = unsafe { turn.submit(&[commands]) }.unwrap();

    let mut turn = exchange.begin().unwrap();
    filler.fill(&mut turn, 1000, Duration::ZERO);
    let turn = turn.finish().unwrap();
    let commands = fast.record(&turn, &[(turn.resources().as_raw(), SIZE)]);
    // SAFETY: as above.
    let first = unsafe { turn.submit(&[commands]) }.unwrap();

    // Frame 1 is computed while frame 0 still waits in the queue.
    let mut turn = exchange.begin().unwrap();
    filler.fill(&mut turn, 2000, Duration::ZERO);
    let turn = turn.finish().unwrap();
    assert!(!first.is_reached().unwrap(), "the reader is too fast to prove anything");
    first.wait(Rig::LONG).unwrap();
    assert!(fast.words() == Filler::pattern(LEN, 1000), "frame 1 overwrote what frame 0 was reading");
    slow_frame.wait(Rig::LONG).unwrap();
    turn.skip();
}

fn several_resources_cross_together(rig: &Rig, compute: &Compute) {
    const FEW: usize = 1000;
    let resources = (
        BufferSpec::<[u32; 2]>::new(FEW, Consumer::TRANSFER_READ).named("pairs"),
        vec![BufferSpec::<u32>::new(FEW, Consumer::TRANSFER_READ | Consumer::VERTEX_INPUT); 20],
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
        }
        let turn = turn.finish().unwrap();
        let (pairs, singles) = turn.resources();
        let mut sources = vec![(pairs.as_raw(), pairs.size())];
        sources.extend(singles.map(|buffer| (buffer.as_raw(), buffer.size())));
        let words = readback.run(turn, &sources);
        assert_eq!(&words[..4], &[frame, 77, frame, 77]);
        for i in 0..20 {
            assert_eq!(words[(2 + i) * FEW], frame * 100 + u32::try_from(i).unwrap());
        }
    }
}

fn dropping_with_frames_in_flight_is_safe(rig: &Rig, compute: &Compute) {
    let filler = Filler::new(compute);
    let readback = Readback::new(rig.device(), SIZE);
    let mut exchange = exchange(compute, 2);
    let mut turn = exchange.begin().unwrap();
    filler.fill(&mut turn, 5, SLOW);
    let turn = turn.finish().unwrap();
    let commands = readback.record(&turn, &[(turn.resources().as_raw(), SIZE)]);
    // SAFETY: recorded with the turn's barriers; dropping the exchange waits.
    let point = unsafe { turn.submit(&[commands]) }.unwrap();
    drop(exchange);
    assert!(point.is_reached().unwrap(), "dropping did not wait");
    assert!(readback.words() == Filler::pattern(LEN, 5));
}

/// Two exchanges on one compute side: the one can be closed while the other never lets it come to rest.
fn closing_does_not_wait_for_others(rig: &Rig, compute: &Compute) {
    let stop = AtomicBool::new(false);
    let filler = Filler::new(compute);
    let mut busy = exchange(compute, 3);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut last: Option<TimelinePoint> = None;
            while !stop.load(Ordering::Acquire) {
                let mut turn = busy.begin().unwrap();
                filler.fill(&mut turn, 0, Duration::from_millis(3));
                let turn = turn.finish().unwrap();
                let point = turn.computed().clone();
                turn.skip();
                // The next frame is always enqueued before the last one is done.
                if let Some(point) = last.replace(point) {
                    point.wait(Rig::LONG).unwrap();
                }
            }
        });
        let readback = Readback::new(rig.device(), SIZE);
        let filler = Filler::new(compute);
        let info = ExchangeInfo { name: "closed", slots: 1, timeout: Duration::from_millis(500), ..Default::default() };
        let spec = BufferSpec::new(LEN, Consumer::TRANSFER_READ);
        let mut closed = Exchange::<BufferSpec<u32>>::new(compute, &info, spec).unwrap();
        let mut turn = closed.begin().unwrap();
        filler.fill(&mut turn, 4, Duration::ZERO);
        let turn = turn.finish().unwrap();
        let source = (turn.resources().as_raw(), SIZE);
        let right = readback.run(turn, &[source]) == Filler::pattern(LEN, 4);
        let result = closed.close();
        stop.store(true, Ordering::Release);
        assert!(right);
        result.unwrap();
    });
}
