//! Frames cross completely, in both directions, and recorded work runs exactly when it is due.

use bridge::ash::vk;
use bridge::{ComputeFirst, Exchange, LiveObjects, QueueKind, RenderTurn};
use bridge_tests::{Commands, Gate, Readback, Rig};

use super::{Inline, LEN, SIZE, Words, copy, fill, info, words};

fn pattern(word: u32) -> Vec<u32> {
    vec![word; LEN]
}

fn read(readback: &Readback, turn: RenderTurn<Words, ComputeFirst>) -> Vec<u32> {
    let source = (turn.resources().as_raw(), SIZE);
    readback.run(turn, &[source])[..LEN].to_vec()
}

#[test]
fn every_frame_crosses_intact() {
    let inline = Inline::open();
    let readback = Readback::new(&inline.device, SIZE);
    for slots in 1..=4 {
        let mut exchange = inline.exchange("words", slots);
        for frame in 0..20 {
            let mut turn = exchange.begin().unwrap();
            fill(&inline, &mut turn, frame);
            assert!(read(&readback, turn.finish().unwrap()) == pattern(frame), "frame {frame} of {slots} slots");
        }
        exchange.close().unwrap();
    }
    drop(readback);
    inline.finish();
}

/// Without the submission that includes it, the work has not run: a submission that bypasses the
/// bridge sees the previous frame.
#[test]
fn work_runs_when_it_is_requested() {
    let inline = Inline::open();
    let readback = Readback::new(&inline.device, SIZE);
    let mut exchange = inline.exchange("words", 1);
    let mut turn = exchange.begin().unwrap();
    fill(&inline, &mut turn, 1);
    let turn = turn.finish().unwrap();
    let buffer = turn.resources().as_raw();
    assert!(read(&readback, turn) == pattern(1));

    let mut turn = exchange.begin().unwrap();
    fill(&inline, &mut turn, 2);
    let turn = turn.finish().unwrap();
    let past = Bypass::new(&inline, buffer);
    past.submit(&[]);
    assert!(past.words() == pattern(1), "the work ran before anybody asked for it");

    // The wait causes the signal, and therefore the work, to be submitted.
    past.submit(&[turn.computed().wait_info(vk::PipelineStageFlags2::ALL_COMMANDS).unwrap()]);
    assert!(past.words() == pattern(2), "a wait for its point did not bring the work");
    turn.skip();
    exchange.close().unwrap();
    drop((past, readback));
    inline.finish();
}

/// The waits of another exchange's work do not affect an exchange that is done.
#[test]
fn an_idle_exchange_ends_while_another_stalls() {
    let inline = Inline::open();
    let readback = Readback::new(&inline.device, SIZE);
    let (mut done, mut stalled) = (inline.exchange("done", 1), inline.exchange("stalled", 1));
    let mut turn = done.begin().unwrap();
    fill(&inline, &mut turn, 1);
    assert!(read(&readback, turn.finish().unwrap()) == pattern(1));
    let gate = Gate::new(&inline.device);
    gate.hold_queue(&inline.device, QueueKind::Graphics);
    let mut turn = stalled.begin().unwrap();
    fill(&inline, &mut turn, 2);
    // SAFETY: no commands.
    let point = unsafe { turn.finish().unwrap().submit(&[]) }.unwrap();
    done.close().unwrap();
    assert!(!point.is_reached().unwrap(), "the gate holds nothing");
    drop(gate);
    stalled.close().unwrap();
    drop(readback);
    inline.finish();
}

#[test]
fn a_point_is_reached_once_it_is_queried() {
    let inline = Inline::open();
    let mut exchange = inline.exchange("words", 2);
    let mut turn = exchange.begin().unwrap();
    fill(&inline, &mut turn, 1);
    let turn = turn.finish().unwrap();
    let point = turn.computed();
    let start = std::time::Instant::now();
    while !point.is_reached().unwrap() {
        assert!(start.elapsed() < Rig::LONG, "asking does not bring the work");
        std::thread::yield_now();
    }
    let mut second = exchange.begin().unwrap();
    fill(&inline, &mut second, 2);
    second.finish().unwrap().computed().wait(Rig::LONG).unwrap();
    turn.skip();
    exchange.close().unwrap();
    drop(point);
    inline.finish();
}

/// The results of a skipped frame are not lost: state that is stored elsewhere is kept.
#[test]
fn the_work_of_a_skipped_frame_runs_before_the_next() {
    let inline = Inline::open();
    let readback = Readback::new(&inline.device, SIZE);
    let (mut state, mut shown) = (inline.exchange("state", 1), inline.exchange("shown", 2));
    let mut kept = state.begin().unwrap();
    fill(&inline, &mut kept, 5);
    // Skipped, together with its own work and that of another turn.
    let mut skipped = shown.begin().unwrap();
    fill(&inline, &mut kept, 6);
    fill(&inline, &mut skipped, 1);
    skipped.finish().unwrap().skip();
    let mut turn = shown.begin().unwrap();
    copy(&inline, &mut kept, &mut turn);
    assert!(read(&readback, turn.finish().unwrap()) == pattern(6));
    kept.skip().unwrap();
    state.close().unwrap();
    shown.close().unwrap();
    drop(readback);
    inline.finish();
}

/// Turns of several exchanges share one stream: work runs in the order of the calls, whichever turn
/// is finished first.
#[test]
fn work_of_two_exchanges_runs_in_the_order_of_the_calls() {
    let inline = Inline::open();
    let readback = Readback::new(&inline.device, SIZE);
    let (mut one, mut other) = (inline.exchange("one", 2), inline.exchange("other", 2));
    for frame in 0..10 {
        let (mut first, mut second) = (one.begin().unwrap(), other.begin().unwrap());
        fill(&inline, &mut second, 1000 + frame);
        copy(&inline, &mut second, &mut first);
        fill(&inline, &mut second, 2000 + frame);
        let second = second.finish().unwrap();
        let first = first.finish().unwrap();
        assert!(read(&readback, first) == pattern(1000 + frame), "frame {frame}");
        assert!(read(&readback, second) == pattern(2000 + frame), "frame {frame}");
    }
    one.close().unwrap();
    other.close().unwrap();
    drop(readback);
    inline.finish();
}

#[test]
fn frames_that_vulkan_begins_are_given_back() {
    let inline = Inline::open();
    let readback = Readback::new(&inline.device, SIZE);
    let mut scenes = Exchange::render_first(&inline.compute, &info("scene", 2), words()).unwrap();
    let mut pictures = inline.exchange("picture", 2);
    let commands: Vec<_> = (0..2).map(|_| Commands::new(&inline.device)).collect();
    for frame in 0..20_u32 {
        let scene = scenes.begin().unwrap();
        let drawn = &commands[scene.slot()];
        let raw = drawn.fill(&scene, scene.resources().as_raw(), 100 + frame);
        // SAFETY: recorded with the turn's barriers; waited for before it is recorded again.
        let mut scene = unsafe { scene.submit(&[raw]) }.unwrap();
        drawn.note(scene.rendered());
        let mut picture = pictures.begin().unwrap();
        copy(&inline, &mut scene, &mut picture);
        let computed = scene.finish().unwrap();
        assert!(read(&readback, picture.finish().unwrap()) == pattern(100 + frame), "frame {frame}");
        computed.wait(Rig::LONG).unwrap();
    }
    scenes.close().unwrap();
    pictures.close().unwrap();
    drop((readback, commands));
    inline.finish();
}

/// An engine that submits itself waits for the signal, which has been submitted by then.
#[test]
fn a_lent_frame_follows_its_work() {
    let inline = Inline::open();
    let readback = Readback::new(&inline.device, SIZE);
    let mut exchange = inline.exchange("words", 2);
    for frame in 0..10 {
        let mut turn = exchange.begin().unwrap();
        fill(&inline, &mut turn, frame);
        let turn = turn.finish().unwrap();
        let commands = [readback.record(&turn, &[(turn.resources().as_raw(), SIZE)])];
        let turn = turn.lend().unwrap();
        let parts = turn.parts();
        let infos = commands.map(|raw| vk::CommandBufferSubmitInfo::default().command_buffer(raw));
        let signals = [parts.signal()];
        let batch = vk::SubmitInfo2::default()
            .command_buffer_infos(&infos)
            .wait_semaphore_infos(parts.waits())
            .signal_semaphore_infos(&signals);
        // SAFETY: the parts and commands of this turn, waited for below.
        unsafe { inline.device.queue().submit(&[batch], vk::Fence::null()) }.unwrap();
        // SAFETY: it was submitted by the call above.
        unsafe { turn.submitted() }.wait(Rig::LONG).unwrap();
        assert!(readback.words() == pattern(frame), "frame {frame}");
    }
    exchange.close().unwrap();
    drop(readback);
    inline.finish();
}

/// The contents of a buffer that grows are copied after the recorded work, while a frame with the
/// old buffer is in flight.
#[test]
fn a_buffer_grows_and_keeps_its_contents() {
    let inline = Inline::open();
    let readback = Readback::new(&inline.device, 2 * SIZE);
    let mut exchange = inline.exchange("words", 1);
    for round in 0..10_u32 {
        let mut turn = exchange.begin().unwrap();
        fill(&inline, &mut turn, round);
        turn.finish().unwrap().skip();
        exchange.grow(LEN + 16 * (round as usize + 1)).unwrap();
        let turn = exchange.begin().unwrap().finish().unwrap();
        assert!(turn.resources().len() == LEN + 16 * (round as usize + 1));
        assert!(read(&readback, turn) == pattern(round), "round {round}");
    }
    exchange.close().unwrap();
    drop(readback);
    inline.finish();
}

/// Exchanges and the compute side may be dropped at any point: with recorded, finished or submitted
/// work, and in the middle of a turn.
#[test]
fn dropping_at_every_point_leaves_nothing() {
    let inline = Inline::open();
    let before = LiveObjects::now();
    let commands = Commands::new(&inline.device);
    for point in 0..5 {
        let mut exchange = inline.exchange("words", 2);
        let mut turn = exchange.begin().unwrap();
        if point == 0 {
            continue;
        }
        fill(&inline, &mut turn, point);
        if point == 1 {
            continue;
        }
        let turn = turn.finish().unwrap();
        if point == 2 {
            turn.skip();
            continue;
        }
        let raw = commands.fill(&turn, turn.resources().as_raw(), point);
        // SAFETY: recorded with the turn's barriers; waited for before it is recorded again.
        let rendered = unsafe { turn.submit(&[raw]) }.unwrap();
        commands.note(rendered);
        let mut next = exchange.begin().unwrap();
        fill(&inline, &mut next, point);
        if point == 3 {
            exchange.close().unwrap_err();
        } else {
            next.skip().unwrap();
            exchange.close().unwrap();
        }
    }
    drop(commands);
    assert_eq!(LiveObjects::now(), before);
    inline.finish();
}

/// Reads a buffer in a submission that bypasses the bridge.
struct Bypass<'a> {
    inline: &'a Inline,
    buffer: vk::Buffer,
    copied: vk_local::LocalBuffer,
    commands: Commands,
}

impl<'a> Bypass<'a> {
    fn new(inline: &'a Inline, buffer: vk::Buffer) -> Self {
        let copied = vk_local::LocalBuffer::new(
            &inline.device,
            "past",
            SIZE,
            vk::BufferUsageFlags::TRANSFER_DST,
            vk_local::MemoryLocation::GpuToCpu,
        )
        .unwrap();
        Self { inline, buffer, copied, commands: Commands::new(&inline.device) }
    }

    fn submit(&self, waits: &[vk::SemaphoreSubmitInfo<'_>]) {
        let device = &self.inline.device;
        let raw = self.commands.begin();
        super::transfer_after(device, raw);
        let region = [vk::BufferCopy::default().size(SIZE)];
        // SAFETY: recording; both buffers have this size.
        unsafe { device.as_raw().cmd_copy_buffer(raw, self.buffer, self.copied.as_raw(), &region) };
        bridge_tests::to_host(device, raw);
        self.commands.end();
        let infos = [vk::CommandBufferSubmitInfo::default().command_buffer(raw)];
        let batch = vk::SubmitInfo2::default().command_buffer_infos(&infos).wait_semaphore_infos(waits);
        // SAFETY: waited for immediately below.
        unsafe { device.queue().submit(&[batch], vk::Fence::null()) }.unwrap();
        // SAFETY: a live queue, under its lock.
        device.queue().with(|queue| unsafe { device.as_raw().queue_wait_idle(queue) }).unwrap().unwrap();
    }

    fn words(&self) -> Vec<u32> {
        let start = self.copied.host_ptr().unwrap().cast::<u32>();
        // SAFETY: that many words are mapped; the queue was idle after the copy, which is followed
        // by a barrier to the host.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), LEN) }.to_vec()
    }
}
