//! Negative controls: errors caused by missing waits are detected by the checks of these tests.

use std::time::Duration;

use bridge::ash::vk;
use bridge::cuda_import::record_event;
use bridge::{Compute, LatestInfo, Newest};
use bridge_tests::{Filler, Gate, Readback, Rig};

use crate::{LEN, Pair, SIZE, base, frame_of, info, publish, submit, words};

/// Publishes and reads 20 frames, so that all slots hold a frame; returns the frame in each slot.
fn fill_all_slots((writer, reader): &mut Pair, filler: &Filler, readback: &Readback) -> Vec<u64> {
    let mut frames = vec![None; writer.slots()];
    for frame in 0..20 {
        publish(writer, filler, 0).wait(Rig::LONG).unwrap();
        let turn = reader.newest().unwrap().unwrap();
        frames[turn.slot()] = Some(turn.frame());
        submit(turn, readback);
        readback.finish();
        assert_eq!(frame_of(&readback.words()[..LEN]), Ok(frame));
    }
    frames.into_iter().map(Option::unwrap).collect()
}

/// Submits the turn's copy without the turn's wait, and waits for it.
fn read_without_wait(rig: &Rig, turn: bridge::RenderRead<crate::Words>, readback: &Readback) -> Vec<u32> {
    let commands = readback.record_read(&turn, &[(turn.resources().as_raw(), SIZE)]);
    let turn = turn.lend().unwrap();
    assert_eq!(turn.parts().waits().len(), 1);
    let (infos, signals) = ([vk::CommandBufferSubmitInfo::default().command_buffer(commands)], [turn.parts().signal()]);
    let batch = vk::SubmitInfo2::default().command_buffer_infos(&infos).signal_semaphore_infos(&signals);
    // SAFETY: wrong on purpose: the turn's wait is missing. Any bits are valid words.
    unsafe { rig.device().queue().submit(&[batch], vk::Fence::null()) }.unwrap();
    // SAFETY: it was submitted, but without its wait.
    let point = unsafe { turn.submitted() };
    readback.note(point);
    readback.finish();
    readback.words()[..LEN].to_vec()
}

/// The wait for an unfinished frame is necessary: without it, the slot still has its previous
/// contents.
pub(crate) fn a_reader_without_its_wait_sees_a_stale_frame(rig: &Rig, compute: &Compute) {
    let (filler, readback) = (Filler::new(compute), Readback::new(rig.device(), SIZE));
    let mut pair = words(compute, &LatestInfo { newest: Newest::Published, ..info() });
    let held = fill_all_slots(&mut pair, &filler, &readback);
    let (mut writer, mut reader) = pair;
    let gate = Gate::on(writer.compute());
    let mut turn = writer.begin().unwrap();
    gate.hold_work(turn.work());
    filler.fill_work(turn.work(), base(20), Duration::ZERO);
    let published = turn.publish().unwrap();
    let turn = reader.newest().unwrap().unwrap();
    assert_eq!((turn.frame(), turn.is_new()), (20, true));
    let old = held[turn.slot()];
    let seen = frame_of(&read_without_wait(rig, turn, &readback));
    assert_eq!(seen, Ok(old), "without its wait it has to see what the slot held before");
    gate.open();
    published.wait(Rig::LONG).unwrap();
    writer.close(reader).unwrap();
}

/// A frame that is read while it is being written fails the check.
pub(crate) fn a_torn_frame_is_detected(rig: &Rig, compute: &Compute) {
    let (filler, readback) = (Filler::new(compute), Readback::new(rig.device(), SIZE));
    let mut pair = words(compute, &LatestInfo { newest: Newest::Published, ..info() });
    let held = fill_all_slots(&mut pair, &filler, &readback);
    let (mut writer, mut reader) = pair;
    let half: Vec<u32> = (base(20)..).take(LEN / 2).collect();
    let gate = Gate::on(writer.compute());
    let mut turn = writer.begin().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let event = match turn.work() {
        bridge::Work::Host(host) => {
            let write = move |words: &mut [u32]| {
                words[..LEN / 2].copy_from_slice(&half);
                tell.send(()).unwrap();
            };
            host.run(write).unwrap();
            None
        }
        bridge::Work::Cuda(mut cuda) => {
            cuda.stream.memcpy_htod(&half, &mut cuda.resources).unwrap();
            Some(record_event(cuda.stream).unwrap())
        }
        _ => unreachable!("no other backend is opened here"),
    };
    gate.hold_work(turn.work());
    filler.fill_work(turn.work(), base(20), Duration::ZERO);
    let published = turn.publish().unwrap();
    // The first half is written, and the gate holds the second.
    match event {
        Some(event) => assert!(event.wait(Rig::LONG).unwrap()),
        None => told.recv_timeout(Rig::LONG).unwrap(),
    }
    let turn = reader.newest().unwrap().unwrap();
    let old = held[turn.slot()];
    let seen = read_without_wait(rig, turn, &readback);
    let torn: Vec<u32> = (base(20)..).take(LEN / 2).chain((base(old)..).take(LEN).skip(LEN / 2)).collect();
    assert!(seen == torn, "it has to see half of frame 20 and half of frame {old}, not {:?}", frame_of(&seen));
    let error = frame_of(&seen).expect_err("half of frame 20 passes for a frame");
    assert!(error.contains("word 0 is of frame 20") && error.contains(&format!("of frame {old}")), "{error}");
    gate.open();
    published.wait(Rig::LONG).unwrap();
    writer.close(reader).unwrap();
}
