//! Vulkan writes, and the compute side reads the newest frame.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use bridge::ash::vk;
use bridge::{
    BufferAccess, Compute, ComputeRead, Error, Exchange, LatestInfo, LatestReader, LatestWriter, Newest, QueueKind,
    RenderFirst, RenderWrite, Stage, TimelinePoint, Work,
};
use bridge_tests::{Commands, Gate, Rig};

use crate::{LEN, Words, info};

type Writer = LatestWriter<Words, RenderFirst>;
type Reader = LatestReader<Words, RenderFirst>;

fn words(compute: &Compute, info: &LatestInfo<'_>) -> (Writer, Reader) {
    let spec = Words::new(LEN, BufferAccess::TRANSFER_WRITE);
    Exchange::latest_render_first(compute, info, spec).unwrap()
}

/// Records the filling of the frame with its number, in two halves.
fn record(rig: &Rig, turn: &RenderWrite<Words>, commands: &Commands) -> vk::CommandBuffer {
    let raw = commands.begin();
    let (device, buffer) = (rig.device().as_raw(), turn.resources().as_raw());
    let (half, word) = (2 * LEN as u64, u32::try_from(turn.frame()).unwrap());
    // SAFETY: recording, of the right family, submitted with this turn.
    unsafe { turn.record_acquire(raw) };
    for offset in [0, half] {
        // SAFETY: recording; both halves are inside the buffer, which may be filled.
        unsafe { device.cmd_fill_buffer(raw, buffer, offset, half, word) };
    }
    // SAFETY: as above.
    unsafe { turn.record_release(raw) };
    commands.end();
    raw
}

fn draw(rig: &Rig, writer: &mut Writer, commands: &Commands) -> TimelinePoint {
    let turn = writer.begin().unwrap();
    let raw = record(rig, &turn, commands);
    // SAFETY: recorded with the turn's barriers; the commands are waited for before they are
    // recorded again.
    let point = unsafe { turn.submit(&[raw]) }.unwrap();
    commands.note(point.clone());
    point
}

/// Enqueues a read of the frame; the words are sent through the channel.
fn look(turn: &mut ComputeRead<Words>, seen: &mpsc::Sender<Vec<u32>>) {
    match turn.work() {
        Work::Host(host) => {
            let seen = seen.clone();
            host.run(move |words| seen.send(words.to_vec()).unwrap()).unwrap();
        }
        Work::Cuda(cuda) => seen.send(cuda.stream.clone_dtoh(&cuda.resources).unwrap()).unwrap(),
        _ => unreachable!("no other backend is opened here"),
    }
}

/// Takes the newest frame and reads it.
fn read(reader: &mut Reader) -> Option<u64> {
    let (sender, seen) = mpsc::channel();
    let mut turn = reader.newest().unwrap()?;
    let frame = turn.frame();
    look(&mut turn, &sender);
    turn.finish().unwrap();
    assert_eq!(seen.recv_timeout(Rig::LONG).unwrap(), vec![u32::try_from(frame).unwrap(); LEN]);
    Some(frame)
}

pub(crate) fn frames_that_vulkan_draws_are_intact_and_never_older(rig: &Rig, compute: &Compute) {
    const FRAMES: u64 = 300;
    for newest in [Newest::Finished, Newest::Published] {
        let (mut writer, mut reader) = words(compute, &LatestInfo { newest, ..info() });
        assert!(reader.newest().unwrap().is_none());
        let reading = std::thread::spawn(move || {
            let (sender, seen) = mpsc::channel();
            let (mut frames, mut last) = (Vec::new(), None);
            let start = Instant::now();
            while last < Some(FRAMES - 1) {
                assert!(start.elapsed() < Rig::LONG, "the reader got no further than {last:?}");
                let Some(mut turn) = reader.newest().unwrap() else { continue };
                assert!(Some(turn.frame()) >= last && turn.is_new() == (Some(turn.frame()) > last));
                last = Some(turn.frame());
                frames.push(turn.frame());
                look(&mut turn, &sender);
                let point = turn.finish().unwrap();
                if frames.len() % 3 == 0 {
                    point.wait(Rig::LONG).unwrap();
                }
                if frames.len() % 40 == 0 {
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
            for frame in frames {
                let words = seen.recv_timeout(Rig::LONG).unwrap();
                let word = u32::try_from(frame).unwrap();
                let wrong = words.iter().position(|found| *found != word);
                assert_eq!(wrong.map(|i| (i, words[i])), None, "frame {frame}, {newest:?}");
            }
            reader
        });
        let commands: Vec<_> = (0..3).map(|_| Commands::new(rig.device())).collect();
        for frame in 0..FRAMES {
            draw(rig, &mut writer, &commands[frame as usize % 3]);
            if frame % 50 == 0 {
                std::thread::sleep(Duration::from_millis(3));
            }
        }
        let reader = reading.join().unwrap();
        drop(commands);
        writer.close(reader).unwrap();
    }
}

/// While the queue is stalled, the compute side continues; while the compute side is stalled, the
/// queue continues.
pub(crate) fn neither_vulkan_nor_its_reader_waits(rig: &Rig, compute: &Compute) {
    let commands = [Commands::new(rig.device()), Commands::new(rig.device())];
    let (mut writer, mut reader) = words(compute, &info());
    draw(rig, &mut writer, &commands[0]).wait(Rig::LONG).unwrap();
    let gate = Gate::new(rig.device());
    gate.hold_queue(rig.device(), QueueKind::Graphics);
    let drawn = draw(rig, &mut writer, &commands[1]);
    for _ in 0..10 {
        assert_eq!(read(&mut reader), Some(0));
    }
    assert!(!drawn.is_reached().unwrap(), "the gate holds nothing");
    gate.open();
    drawn.wait(Rig::LONG).unwrap();

    let gate = Gate::on(reader.compute());
    let (sender, seen) = mpsc::channel();
    let mut turn = reader.newest().unwrap().unwrap();
    assert_eq!(turn.frame(), 1);
    gate.hold_work(turn.work());
    if let Work::Host(_) = turn.work() {
        look(&mut turn, &sender);
    }
    let held = turn.finish().unwrap();
    for frame in 0..50 {
        draw(rig, &mut writer, &commands[frame % 2]).wait(Rig::LONG).unwrap();
    }
    assert!(!held.is_reached().unwrap(), "the gate holds nothing");
    gate.open();
    held.wait(Rig::LONG).unwrap();
    drop(sender);
    assert!(seen.iter().all(|words| words == [1; LEN]), "written over while it was read");
    assert_eq!(read(&mut reader), Some(51));
    drop(commands);
    writer.close(reader).unwrap();
}

/// With more turns of the reader in flight than declared, Vulkan's submissions wait for the oldest,
/// and the read frames stay complete.
pub(crate) fn more_turns_than_declared_hold_vulkans_writes(rig: &Rig, compute: &Compute) {
    let commands = Commands::new(rig.device());
    const SLOTS: usize = 4;
    // The slot of frame 0 is returned by the first of these reads.
    const READS: u64 = SLOTS as u64 - 1;
    let least = LatestInfo { writer_in_flight: 1, reader_in_flight: 1, slots: Some(SLOTS), ..info() };
    let (mut writer, mut reader) = words(compute, &least);
    draw(rig, &mut writer, &commands).wait(Rig::LONG).unwrap();
    assert_eq!(read(&mut reader), Some(0));
    let gate = Gate::on(reader.compute());
    let (sender, seen) = mpsc::channel();
    // Nothing holds a write as long as a slot is left that no read uses or returns.
    for frame in 1..=READS {
        draw(rig, &mut writer, &commands).wait(Rig::LONG).expect("Vulkan waits for its reader");
        let mut turn = reader.newest().unwrap().unwrap();
        assert_eq!(turn.frame(), frame);
        if frame == 1 {
            gate.hold_work(turn.work());
        }
        if let Work::Host(_) = turn.work() {
            look(&mut turn, &sender);
        }
        turn.finish().unwrap();
    }
    let held = draw(rig, &mut writer, &commands);
    assert!(held.wait(Rig::MOMENT).is_err(), "Vulkan draws over what is read");
    gate.open();
    held.wait(Rig::LONG).unwrap();
    drop(sender);
    for (frame, words) in (1..).zip(seen) {
        assert!(words == [frame; LEN], "frame {frame} was drawn over while it was read");
    }
    assert_eq!(read(&mut reader), Some(READS + 1));
    drop(commands);
    writer.close(reader).unwrap();
}

pub(crate) fn lent_and_dropped_frames_of_vulkan_cost_no_others(rig: &Rig, compute: &Compute) {
    let commands = [Commands::new(rig.device()), Commands::new(rig.device())];
    let (mut writer, mut reader) = words(compute, &info());
    for round in 0..30u64 {
        // A dropped turn is reported once, and its frame is begun again.
        drop(writer.begin().unwrap());
        let error = writer.begin().unwrap_err();
        assert!(matches!(error, Error::TurnLost { stage: Stage::Render, .. }), "{error}");
        writer.begin().unwrap().skip();
        // A lent turn that is submitted, or not, without a report.
        let turn = writer.begin().unwrap();
        let frame = turn.frame();
        let raw = record(rig, &turn, &commands[0]);
        let turn = turn.lend().unwrap();
        if round % 3 == 0 {
            // SAFETY: it was not submitted.
            unsafe { turn.not_submitted() };
        } else {
            let parts = turn.parts();
            let signals = [parts.signal()];
            let infos = [vk::CommandBufferSubmitInfo::default().command_buffer(raw)];
            let batch = vk::SubmitInfo2::default()
                .wait_semaphore_infos(parts.waits())
                .command_buffer_infos(&infos)
                .signal_semaphore_infos(&signals);
            if round % 3 == 1 {
                // SAFETY: the parts of an open turn, and its commands, which are waited for below.
                unsafe { rig.device().queue().submit(&[batch], vk::Fence::null()) }.unwrap();
            }
            drop(turn);
        }
        // The number is used for a frame that is published.
        let point = draw(rig, &mut writer, &commands[1]);
        point.wait(Rig::LONG).unwrap();
        assert_eq!(read(&mut reader), Some(frame), "round {round}");
        // If the reader's turn is dropped, nothing is lost.
        drop(reader.newest().unwrap());
    }
    drop(commands);
    writer.close(reader).unwrap();
}

/// If dropped lent turns have taken every slot, a signal after them returns the slots.
pub(crate) fn slots_of_lost_submissions_are_recovered(rig: &Rig, compute: &Compute) {
    let commands = Commands::new(rig.device());
    let (mut writer, mut reader) = words(compute, &info());
    draw(rig, &mut writer, &commands).wait(Rig::LONG).unwrap();
    assert_eq!(read(&mut reader), Some(0));
    let mut lost = 0;
    let error = loop {
        match writer.begin() {
            Ok(turn) => drop(turn.lend().unwrap()),
            Err(error) => break error,
        }
        lost += 1;
        assert!(lost < writer.slots(), "the reader has one");
    };
    assert!(matches!(error, Error::TurnLost { stage: Stage::Submit, frame: 1, .. }), "{error}");
    assert_eq!(lost, writer.slots() - 1);
    assert_eq!(read(&mut reader), Some(0), "the reader goes on");
    let start = Instant::now();
    let turn = loop {
        match writer.begin() {
            Ok(turn) => break turn,
            Err(error) => assert!(start.elapsed() < Rig::LONG, "{error}"),
        }
    };
    assert_eq!(turn.frame(), 1);
    turn.skip();
    draw(rig, &mut writer, &commands).wait(Rig::LONG).unwrap();
    assert_eq!(read(&mut reader), Some(1));
    drop(commands);
    writer.close(reader).unwrap();
}
