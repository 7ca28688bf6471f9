//! Negative controls: what goes wrong without the waits is seen by the checks of these tests.

use std::time::Duration;

use bridge::ash::vk;
use bridge::cuda_import::mark;
use bridge::{Compute, LatestInfo, Newest};
use bridge_tests::{Filler, Gate, Readback, Rig};

use crate::{LEN, SIZE, base, frame_of, info, publish, read, words};

/// Submits the turn's copy without the turn's wait, and waits for it.
fn read_without_wait(rig: &Rig, turn: bridge::RenderRead<crate::Words>, readback: &Readback) -> Vec<u32> {
    let commands = readback.record_read(&turn, &[(turn.resources().as_raw(), SIZE)]);
    let turn = turn.lend().unwrap();
    assert_eq!(turn.parts().waits().len(), 1);
    let (infos, signals) = ([vk::CommandBufferSubmitInfo::default().command_buffer(commands)], [turn.parts().signal()]);
    let batch = vk::SubmitInfo2::default().command_buffer_infos(&infos).signal_semaphore_infos(&signals);
    // SAFETY: wrong on purpose: the turn's wait is missing. Any bits are words.
    unsafe { rig.device().queue().submit(&[batch], vk::Fence::null()) }.unwrap();
    // SAFETY: it was submitted, if without its wait.
    let point = unsafe { turn.submitted() };
    readback.note(point);
    readback.finish();
    readback.words()[..LEN].to_vec()
}

/// The wait of a frame that is not finished is what makes it whole: without, the slot holds what it
/// held before.
pub(crate) fn a_reader_without_its_wait_sees_a_stale_frame(rig: &Rig, compute: &Compute) {
    let (filler, readback) = (Filler::new(compute), Readback::new(rig.device(), SIZE));
    let (mut writer, mut reader) = words(compute, &LatestInfo { newest: Newest::Issued, ..info() });
    // All slots hold a frame.
    for frame in 0..20 {
        publish(&mut writer, &filler, 0).wait(Rig::LONG).unwrap();
        assert_eq!(read(&mut reader, &readback), Some(frame));
    }
    let gate = Gate::on(writer.compute());
    let mut turn = writer.begin().unwrap();
    gate.hold_work(turn.work());
    filler.fill_work(turn.work(), base(20), Duration::ZERO);
    let published = turn.publish().unwrap();
    let turn = reader.newest().unwrap().unwrap();
    assert_eq!((turn.frame(), turn.is_new()), (20, true));
    let seen = frame_of(&read_without_wait(rig, turn, &readback));
    assert!(seen.as_ref().is_ok_and(|frame| *frame < 20), "without its wait it has to see an old frame, not {seen:?}");
    gate.open();
    published.wait(Rig::LONG).unwrap();
    writer.close(reader).unwrap();
}

/// A frame that is read in the middle of being written fails the check.
pub(crate) fn a_torn_frame_is_seen_to_be_torn(rig: &Rig, compute: &Compute) {
    let (filler, readback) = (Filler::new(compute), Readback::new(rig.device(), SIZE));
    let (mut writer, mut reader) = words(compute, &LatestInfo { newest: Newest::Issued, ..info() });
    for frame in 0..20 {
        publish(&mut writer, &filler, 0).wait(Rig::LONG).unwrap();
        assert_eq!(read(&mut reader, &readback), Some(frame));
    }
    let half: Vec<u32> = (base(20)..).take(LEN / 2).collect();
    let gate = Gate::on(writer.compute());
    let mut turn = writer.begin().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let marked = match turn.work() {
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
            Some(mark(cuda.stream).unwrap())
        }
        _ => unreachable!("no other backend is opened here"),
    };
    gate.hold_work(turn.work());
    filler.fill_work(turn.work(), base(20), Duration::ZERO);
    let published = turn.publish().unwrap();
    // The first half is written, and the gate holds the second.
    match marked {
        Some(mark) => assert!(mark.wait(Rig::LONG).unwrap()),
        None => told.recv_timeout(Rig::LONG).unwrap(),
    }
    let turn = reader.newest().unwrap().unwrap();
    let seen = frame_of(&read_without_wait(rig, turn, &readback));
    assert!(seen.is_err(), "half of frame 20 passed for frame {seen:?}");
    gate.open();
    published.wait(Rig::LONG).unwrap();
    writer.close(reader).unwrap();
}
