//! Ordering between graphs and Vulkan, with negative controls which show that a wrong order would
//! be detected.

use bridge::ash::vk;
use bridge::{Compute, FrameGraph, QueueKind};
use bridge_tests::{Filler, Gate, Readback, Rig, SeenWaits};

use crate::counter::{Counter, compute, exchange, read};
use crate::{LEN, SIZE};

pub(crate) fn vulkan_waits_for_a_slow_graph(rig: &Rig, side: &Compute) {
    let readback = Readback::new(rig.device(), SIZE);
    let mut counter = Counter::new(side);
    let mut exchange = exchange(side, 2);
    let mut graph = FrameGraph::new(&exchange);
    for frame in 0..6u32 {
        let gate = Gate::on(side);
        counter.hold(&gate);
        let turn = compute(&mut exchange, &mut graph, &mut counter);
        let computed = turn.computed();
        let commands = readback.record(&turn, &[(turn.resources().as_raw(), SIZE)]);
        // SAFETY: recorded with the turn's barriers; waited for below.
        let point = unsafe { turn.submit(&[commands]) }.unwrap();
        assert!(!computed.is_reached().unwrap() && !point.is_reached().unwrap(), "the gate holds nothing");
        gate.open();
        point.wait(Rig::LONG).unwrap();
        assert!(readback.words() == Filler::pattern(LEN, frame + 1), "frame {frame}");
    }
}

/// The negative control of the test above, both when the graph is captured and when it is launched
/// again.
pub(crate) fn without_the_wait_vulkan_reads_the_previous_contents(rig: &Rig, side: &Compute) {
    let readback = Readback::new(rig.device(), SIZE);
    let mut counter = Counter::new(side);
    let mut exchange = exchange(side, 1);
    let mut graph = FrameGraph::new(&exchange);
    for frame in [0, 2, 4u32] {
        assert!(read(&readback, compute(&mut exchange, &mut graph, &mut counter)) == Filler::pattern(LEN, frame + 1));
        if frame == 2 {
            graph.invalidate();
        }
        let gate = Gate::on(side);
        counter.hold(&gate);
        let turn = compute(&mut exchange, &mut graph, &mut counter);
        let computed = turn.computed();
        let commands = readback.record(&turn, &[(turn.resources().as_raw(), SIZE)]);
        let turn = turn.lend().unwrap();
        let (infos, signals) =
            ([vk::CommandBufferSubmitInfo::default().command_buffer(commands)], [turn.parts().signal()]);
        let batch = vk::SubmitInfo2::default().command_buffer_infos(&infos).signal_semaphore_infos(&signals);
        // SAFETY: wrong on purpose: the turn's wait is missing. The memory consists of plain words.
        unsafe { rig.device().queue().submit(&[batch], vk::Fence::null()) }.unwrap();
        // SAFETY: it was submitted, although without its wait.
        unsafe { turn.submitted() }.wait(Rig::LONG).unwrap();
        assert!(
            readback.words() == Filler::pattern(LEN, frame + 1),
            "without its wait Vulkan has to read frame {frame}"
        );
        gate.open();
        computed.wait(Rig::LONG).unwrap();
    }
}

/// With one slot, a graph must not write to what the previous frame still reads, either when it is
/// captured or when it is launched again.
pub(crate) fn a_graph_waits_for_a_slow_reader(rig: &Rig, side: &Compute) {
    let readback = Readback::new(rig.device(), SIZE);
    let mut counter = Counter::new(side);
    let mut exchange = exchange(side, 1);
    let mut graph = FrameGraph::new(&exchange);
    for frame in [0, 2, 4u32] {
        let gate = Gate::new(rig.device());
        gate.hold_queue(rig.device(), QueueKind::Graphics);
        let turn = compute(&mut exchange, &mut graph, &mut counter);
        let commands = readback.record(&turn, &[(turn.resources().as_raw(), SIZE)]);
        // SAFETY: recorded with the turn's barriers; waited for below.
        let first = unsafe { turn.submit(&[commands]) }.unwrap();

        let next = compute(&mut exchange, &mut graph, &mut counter);
        assert!(!first.is_reached().unwrap() && !next.computed().is_reached().unwrap(), "the gate holds nothing");
        gate.open();
        first.wait(Rig::LONG).unwrap();
        assert!(
            readback.words() == Filler::pattern(LEN, frame + 1),
            "the next frame overwrote what frame {frame} read"
        );
        assert!(read(&readback, next) == Filler::pattern(LEN, frame + 2));
    }
}

/// The negative control of the test above: nothing waits for the reader, which sees the next frame.
pub(crate) fn a_slow_reader_unknown_to_the_graph_is_overwritten(rig: &Rig, side: &Compute) {
    let readback = Readback::new(rig.device(), SIZE);
    let mut counter = Counter::new(side);
    let mut exchange = exchange(side, 1);
    let mut graph = FrameGraph::new(&exchange);
    for frame in [0, 2, 4u32] {
        let gate = Gate::new(rig.device());
        let turn = compute(&mut exchange, &mut graph, &mut counter);
        turn.computed().wait(Rig::LONG).unwrap();
        let commands = readback.record(&turn, &[(turn.resources().as_raw(), SIZE)]);
        let turn = turn.lend().unwrap();
        gate.hold_queue(rig.device(), QueueKind::Graphics);
        let infos = [vk::CommandBufferSubmitInfo::default().command_buffer(commands)];
        let batch = vk::SubmitInfo2::default().command_buffer_infos(&infos);
        // SAFETY: the commands' resources live until the queue is idle, which the gate's drop waits
        // for.
        unsafe { rig.device().queue().submit(&[batch], vk::Fence::null()) }.unwrap();
        // SAFETY: wrong on purpose: the commands were submitted, although without the turn's
        // semaphores.
        unsafe { turn.not_submitted() };

        let next = compute(&mut exchange, &mut graph, &mut counter);
        next.computed().wait(Rig::LONG).unwrap();
        next.skip();
        drop(gate);
        assert!(readback.words() == Filler::pattern(LEN, frame + 2), "frame {frame} has to be overwritten");
    }
}

pub(crate) fn a_graph_and_its_exchange_are_dropped_in_any_order(_: &Rig, side: &Compute) {
    let seen = SeenWaits::like(side);
    let side = seen.compute();
    for graph_first in [true, false] {
        let readback = Readback::new(seen.device(), SIZE);
        let mut counter = Counter::new(side);
        let mut exchange = exchange(side, 2);
        let mut graph = FrameGraph::new(&exchange);
        compute(&mut exchange, &mut graph, &mut counter).skip();
        let gate = Gate::on(side);
        counter.hold(&gate);
        let turn = compute(&mut exchange, &mut graph, &mut counter);
        let commands = readback.record(&turn, &[(turn.resources().as_raw(), SIZE)]);
        // SAFETY: recorded with the turn's barriers; dropping both waits.
        let point = unsafe { turn.submit(&[commands]) }.unwrap();
        let (reached, waited, _gate) = seen.open_once_waited(gate, || {
            if graph_first {
                drop(graph);
                drop(exchange);
            } else {
                drop(exchange);
                drop(graph);
            }
            point.is_reached().unwrap()
        });
        assert!(waited && reached, "dropping did not wait for Vulkan: {waited}, {reached}");
        assert!(readback.words() == Filler::pattern(LEN, 2));
    }
}
