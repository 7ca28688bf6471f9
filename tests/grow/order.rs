//! The order of frames in flight, and of the copy between the two sides. Each test has a negative
//! control.

use bridge::ash::vk;
use bridge::{Compute, Exchange, FrameGraph, LiveObjects, QueueKind};
use bridge_tests::{Commands, Filler, Gate, Readback, Rig};

use crate::{LEN, SIZE, USES, Words, info, read, words};

/// Growing does not block the host: the queue is held while the buffers grow, and the buffers that
/// it will read stay alive.
pub(crate) fn frames_in_flight_keep_the_old_buffers(rig: &Rig, compute: &Compute) {
    let filler = Filler::new(compute);
    let readbacks = [(); 2].map(|()| Readback::new(rig.device(), SIZE));
    let gate = Gate::new(rig.device());
    let mut exchange = words(compute, 2);
    gate.hold_queue(rig.device(), QueueKind::Graphics);
    let mut points = Vec::new();
    for (frame, readback) in (0u32..).zip(&readbacks) {
        let mut turn = exchange.begin().unwrap();
        filler.fill(&mut turn, frame * 1000);
        let turn = turn.finish().unwrap();
        let commands = readback.record(&turn, &[(turn.resources().as_raw(), SIZE)]);
        // SAFETY: recorded with the turn's barriers; waited for below.
        points.push(unsafe { turn.submit(&[commands]) }.unwrap());
        exchange.grow((frame as usize + 2) * LEN).unwrap();
        // None of it is freed here, because the queue has not read it.
        let mut turn = exchange.begin().unwrap();
        filler.fill(&mut turn, 77);
        turn.skip().unwrap();
    }
    assert!(points.iter().all(|point| !point.is_reached().unwrap()), "the gate holds nothing");
    gate.open();
    for (frame, (point, readback)) in (0u32..).zip(points.iter().zip(&readbacks)) {
        point.wait(Rig::LONG).unwrap();
        assert!(readback.words() == Filler::pattern(LEN, frame * 1000), "frame {frame}");
    }
    exchange.close().unwrap();
}

/// If Vulkan writes to the slot late, in a submission that the exchange knows of, Vulkan's contents
/// are kept.
pub(crate) fn the_copy_waits_for_a_slow_writer(rig: &Rig, compute: &Compute) {
    let (filler, readback) = (Filler::new(compute), Readback::new(rig.device(), SIZE));
    let (commands, gate) = (Commands::new(rig.device()), Gate::new(rig.device()));
    let mut exchange = words(compute, 1);
    gate.hold_queue(rig.device(), QueueKind::Graphics);
    let mut turn = exchange.begin().unwrap();
    filler.fill(&mut turn, 1000);
    let turn = turn.finish().unwrap();
    let recorded = commands.fill(&turn, turn.resources().as_raw(), 9);
    // SAFETY: recorded with the turn's barriers; waited for by `commands`.
    commands.note(unsafe { turn.submit(&[recorded]) }.unwrap());
    exchange.grow(2 * LEN).unwrap();
    let turn = exchange.begin().unwrap().finish().unwrap();
    assert!(!turn.computed().is_reached().unwrap(), "the copy did not wait");
    gate.open();
    assert!(read(&readback, turn) == vec![9; LEN], "copied before Vulkan had written");
    commands.finish();
    exchange.close().unwrap();
}

/// The negative control of the test above: the exchange does not know of the writer, and keeps the
/// previous contents.
pub(crate) fn contents_copied_too_early_are_stale(rig: &Rig, compute: &Compute) {
    let (filler, readback) = (Filler::new(compute), Readback::new(rig.device(), SIZE));
    let (commands, gate) = (Commands::new(rig.device()), Gate::new(rig.device()));
    let mut exchange = words(compute, 1);
    // Keeps the old slots alive, which the exchange would free too early.
    let keeper = FrameGraph::new(&exchange);
    let mut turn = exchange.begin().unwrap();
    filler.fill(&mut turn, 1000);
    let turn = turn.finish().unwrap();
    turn.computed().wait(Rig::LONG).unwrap();
    let recorded = commands.fill(&turn, turn.resources().as_raw(), 9);
    let turn = turn.lend().unwrap();
    gate.hold_queue(rig.device(), QueueKind::Graphics);
    let infos = [vk::CommandBufferSubmitInfo::default().command_buffer(recorded)];
    let batch = vk::SubmitInfo2::default().command_buffer_infos(&infos);
    // SAFETY: the commands' resources live until the queue is idle, which the gate's drop waits
    // for.
    unsafe { rig.device().queue().submit(&[batch], vk::Fence::null()) }.unwrap();
    // SAFETY: wrong on purpose: they were submitted, but without the turn's semaphores.
    unsafe { turn.not_submitted() };
    exchange.grow(2 * LEN).unwrap();
    let turn = exchange.begin().unwrap().finish().unwrap();
    turn.computed().wait(Rig::LONG).unwrap();
    drop(gate);
    assert!(read(&readback, turn) == Filler::pattern(LEN, 1000), "a writer that nobody waits for has to come too late");
    drop(keeper);
    exchange.close().unwrap();
}

/// Runs a frame that Vulkan begins, with a slow computation, and the next frame, which reads the
/// result of the computation.
///
/// `base` is a unique pattern, which no memory contains by chance.
fn frame_after_a_slow_computation(rig: &Rig, compute: &Compute, base: u32, waits: bool) {
    let (filler, readback) = (Filler::new(compute), Readback::new(rig.device(), SIZE));
    let (commands, gate) = (Commands::new(rig.device()), Gate::on(compute));
    let mut exchange = Exchange::render_first(compute, &info(1), Words::new(LEN, USES)).unwrap();
    let turn = exchange.begin().unwrap();
    let recorded = commands.fill(&turn, turn.resources().as_raw(), 9);
    // SAFETY: recorded with the turn's barriers; waited for below.
    let mut turn = unsafe { turn.submit(&[recorded]) }.unwrap();
    commands.note(turn.rendered());
    gate.hold(&mut turn);
    filler.fill(&mut turn, base);
    turn.finish().unwrap();

    commands.finish();
    let alive = LiveObjects::now().buffers;
    exchange.grow(2 * LEN).unwrap();
    let turn = exchange.begin().unwrap();
    assert_eq!(LiveObjects::now().buffers, alive + 1, "Vulkan is done with the old slot, the compute side is not");
    let recorded = readback.record(&turn, &[(turn.resources().as_raw(), SIZE)]);
    let turn = turn.lend().unwrap();
    let parts = turn.parts();
    let (infos, signals) = ([vk::CommandBufferSubmitInfo::default().command_buffer(recorded)], [parts.signal()]);
    let waiting = [parts.waits()[0]];
    let batch = vk::SubmitInfo2::default()
        .command_buffer_infos(&infos)
        .wait_semaphore_infos(&waiting[..usize::from(waits)])
        .signal_semaphore_infos(&signals);
    // SAFETY: waited for below; without its wait it is wrong on purpose, and reads plain words.
    unsafe { rig.device().queue().submit(&[batch], vk::Fence::null()) }.unwrap();
    // SAFETY: just submitted.
    let turn = unsafe { turn.submitted() }.unwrap();
    let rendered = turn.rendered();
    turn.finish().unwrap();
    if waits {
        assert!(!rendered.is_reached().unwrap(), "Vulkan did not wait for the copy");
        gate.open();
    }
    rendered.wait(Rig::LONG).unwrap();
    let right = readback.words() == Filler::pattern(LEN, base);
    assert_eq!(right, waits, "the pattern is written behind the gate, and is seen by those who wait for the copy");
    gate.open();
    exchange.close().unwrap();
}

pub(crate) fn vulkan_waits_for_the_copy(rig: &Rig, compute: &Compute) {
    frame_after_a_slow_computation(rig, compute, 0x0ddc_0de0, true);
}

/// The negative control of the test above.
pub(crate) fn vulkan_reads_a_copy_too_early(rig: &Rig, compute: &Compute) {
    frame_after_a_slow_computation(rig, compute, 0x5eed_0000, false);
}

/// A submission waits at the stages that use the resources, which do not change with new slots.
pub(crate) fn new_slots_are_waited_for_at_the_same_stages(_: &Rig, compute: &Compute) {
    let mut exchange = words(compute, 1);
    let stages = |exchange: &mut Exchange<Words>| {
        let lent = exchange.begin().unwrap().finish().unwrap().lend().unwrap();
        let stages = lent.parts().waits()[0].stage_mask;
        // SAFETY: the parts were not used.
        unsafe { lent.not_submitted() };
        stages
    };
    let before = stages(&mut exchange);
    assert!(!before.is_empty());
    exchange.grow(2 * LEN).unwrap();
    assert_eq!(stages(&mut exchange), before);
    exchange.close().unwrap();
}
