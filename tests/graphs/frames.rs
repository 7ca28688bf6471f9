//! Whole frames, in every kind of program.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bridge::cuda_import::cudarc::driver::{LaunchConfig, PushKernelArg};
use bridge::{Backend, Compute, Exchange, FrameGraph, RenderFirst, Work};
use bridge_tests::{Commands, Filler, Readback, Rig};

use crate::counter::{Counter, Memory, compute, exchange, info, read, words};
use crate::{LEN, SIZE, Words};

pub(crate) fn every_frame_crosses_intact(rig: &Rig, side: &Compute) {
    let readback = Readback::new(rig.device(), SIZE);
    for slots in 1..=4 {
        let mut counter = Counter::new(side);
        let mut exchange = exchange(side, slots);
        let mut graph = FrameGraph::new(&exchange);
        for frame in 0..20u32 {
            let turn = compute(&mut exchange, &mut graph, &mut counter);
            assert_eq!((turn.frame(), turn.slot()), (u64::from(frame), frame as usize % slots));
            assert!(read(&readback, turn) == Filler::pattern(LEN, frame + 1), "frame {frame} of {slots} slots");
        }
        assert_eq!(counter.recorded, counter.calls(20, slots));
        drop(graph);
        exchange.close().unwrap();
    }
}

pub(crate) fn values_rise_over_a_thousand_frames(rig: &Rig, side: &Compute) {
    const FRAMES: u32 = 1000;
    let readback = [(); 3].map(|()| Readback::new(rig.device(), SIZE));
    let mut pending = [const { None::<(u32, bridge::TimelinePoint)> }; 3];
    let mut counter = Counter::new(side);
    let mut exchange = exchange(side, 3);
    let mut graph = FrameGraph::new(&exchange);
    for frame in 0..FRAMES {
        let slot = frame as usize % 3;
        // A slot's readback is read and recorded again three frames later: this is the number of
        // frames in flight.
        if let Some((before, point)) = pending[slot].take() {
            point.wait(Rig::LONG).unwrap();
            assert!(readback[slot].words() == Filler::pattern(LEN, before + 1), "frame {before}");
        }
        let turn = compute(&mut exchange, &mut graph, &mut counter);
        assert_eq!(turn.computed().value(), u64::from(frame) + 1);
        let commands = readback[slot].record(&turn, &[(turn.resources().as_raw(), SIZE)]);
        // SAFETY: recorded with the turn's barriers; waited for above or below.
        let point = unsafe { turn.submit(&[commands]) }.unwrap();
        assert_eq!(point.value(), u64::from(frame) + 1);
        pending[slot] = Some((frame, point));
    }
    for (slot, last) in pending.into_iter().enumerate() {
        let (frame, point) = last.unwrap();
        point.wait(Rig::LONG).unwrap();
        assert!(readback[slot].words() == Filler::pattern(LEN, frame + 1), "frame {frame}");
    }
    assert_eq!(counter.recorded, counter.calls(FRAMES as usize, 3));
}

pub(crate) fn frames_with_and_without_a_graph_follow_each_other(rig: &Rig, side: &Compute) {
    let (readback, filler) = (Readback::new(rig.device(), SIZE), Filler::new(side));
    let mut counter = Counter::new(side);
    let mut exchange = exchange(side, 2);
    let mut graph = FrameGraph::new(&exchange);
    let mut counted = 0;
    for frame in 0..20u32 {
        let turn = if frame % 3 == 1 {
            let mut turn = exchange.begin().unwrap();
            filler.fill_after(&mut turn, 1_000_000 + frame, Duration::from_millis(5));
            turn.finish().unwrap()
        } else {
            counted += 1;
            compute(&mut exchange, &mut graph, &mut counter)
        };
        let expected = if frame % 3 == 1 { 1_000_000 + frame } else { counted };
        assert!(read(&readback, turn) == Filler::pattern(LEN, expected), "frame {frame}");
    }
}

/// Vulkan fills the buffer with the frame's number, the graph adds the buffer to a sum, and each
/// frame must see the sum so far.
pub(crate) fn frames_that_vulkan_begins(rig: &Rig, side: &Compute) {
    let mut counter = Counter::new(side);
    let commands = Commands::new(rig.device());
    let mut exchange: Exchange<Words, RenderFirst> = Exchange::render_first(side, &info(2), words()).unwrap();
    let mut graph = FrameGraph::new(&exchange);
    let seen = Arc::new(AtomicU32::new(0));
    let mut sum = 0;
    for frame in 0..20u32 {
        let turn = exchange.begin().unwrap();
        let recorded = commands.fill(&turn, turn.resources().as_raw(), frame);
        // SAFETY: recorded with the turn's barriers; recording again waits.
        let turn = unsafe { turn.submit(&[recorded]) }.unwrap();
        commands.note(turn.rendered());
        let step = |_, work: Work<'_, Words>| match (&mut counter.memory, work) {
            (Memory::Cuda { add, count, .. }, Work::Cuda(cuda)) => {
                let len = u32::try_from(LEN)?;
                let mut launch = cuda.stream.launch_builder(add);
                let drawn = cuda.resources.as_view();
                launch.arg(&mut *count).arg(&drawn).arg(&len);
                // SAFETY: the kernel's three parameters; both have `len` elements.
                unsafe { launch.launch(LaunchConfig::for_num_elems(len)) }?;
                Ok(())
            }
            (_, Work::Host(host)) => {
                let seen = Arc::clone(&seen);
                Ok(host.run(move |words| _ = seen.fetch_add(words[LEN - 1], Ordering::Relaxed))?)
            }
            _ => Err("a counter of another backend".into()),
        };
        // SAFETY: the counter outlives the graph.
        let point = unsafe { turn.compute_with(&mut graph, step) }.unwrap();
        point.wait(Rig::LONG).unwrap();
        sum += frame;
        let total = match &counter.memory {
            Memory::Cuda { stream, count, .. } => {
                let total = stream.clone_dtoh(count).unwrap();
                assert!(total == vec![total[0]; LEN], "frame {frame}");
                total[0]
            }
            Memory::Host(_) => seen.load(Ordering::Relaxed),
        };
        assert_eq!(total, sum, "frame {frame}");
    }
}

pub(crate) fn skipped_frames_cost_nothing(rig: &Rig, side: &Compute) {
    let readback = Readback::new(rig.device(), SIZE);
    let mut counter = Counter::new(side);
    let mut exchange = exchange(side, 2);
    let mut graph = FrameGraph::new(&exchange);
    for frame in 0..12u32 {
        let turn = compute(&mut exchange, &mut graph, &mut counter);
        match frame % 4 {
            3 => assert!(read(&readback, turn) == Filler::pattern(LEN, frame + 1), "frame {frame}"),
            _ => turn.skip(),
        }
    }
}

pub(crate) fn invalidating_captures_again(rig: &Rig, side: &Compute) {
    let readback = Readback::new(rig.device(), SIZE);
    let mut counter = Counter::new(side);
    let mut exchange = exchange(side, 2);
    let mut graph = FrameGraph::new(&exchange);
    for frame in 0..12u32 {
        if frame % 6 == 0 {
            // Previous frames may still run.
            graph.invalidate();
        }
        let turn = compute(&mut exchange, &mut graph, &mut counter);
        match frame % 6 {
            4 | 5 => turn.skip(),
            _ => assert!(read(&readback, turn) == Filler::pattern(LEN, frame + 1), "frame {frame}"),
        }
    }
    let per_round = counter.calls(6, 2);
    assert_eq!(counter.recorded, 2 * per_round);
    assert!(format!("{graph:?}").contains("2 of 2 slots") || side.backend() == Backend::Host, "{graph:?}");
}

/// A capture of one thread is not disturbed by work that another thread enqueues on the same
/// compute side.
pub(crate) fn two_exchanges_on_one_stream_capture_at_once(_: &Rig, side: &Compute) {
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut counter = Counter::new(side);
                for _ in 0..50 {
                    let mut exchange = exchange(side, 2);
                    let mut graph = FrameGraph::new(&exchange);
                    for _ in 0..2 {
                        // Both turns at once, so that both slots are captured: a skipped slot is
                        // reused first.
                        let turns = [(); 2].map(|()| compute(&mut exchange, &mut graph, &mut counter));
                        for turn in turns {
                            let point = turn.computed();
                            turn.skip();
                            point.wait(Rig::LONG).unwrap();
                        }
                    }
                    drop(graph);
                    exchange.close().unwrap();
                }
                assert_eq!(counter.recorded, 100);
            });
        }
    });
}
