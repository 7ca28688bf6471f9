//! Turns that an engine submits itself.

use bridge::ash::vk;
use bridge::{Compute, Error, LatestInfo, LatestReader, LentLatest, RenderRead, Stage, TimelinePoint};
use bridge_tests::{Filler, Readback, Rig};

use crate::{LEN, SIZE, Words, frame_of, info, publish, read, words};

/// Submits the parts of a lent turn as an engine does.
fn splice(rig: &Rig, turn: &LentLatest<RenderRead<Words>>, commands: &[vk::CommandBuffer]) {
    let parts = turn.parts();
    let infos: Vec<_> =
        commands.iter().map(|raw| vk::CommandBufferSubmitInfo::default().command_buffer(*raw)).collect();
    let signals = [parts.signal()];
    // The wait before and the signal after the commands, in separate submissions, as wgpu needs it.
    let batches = [
        vk::SubmitInfo2::default().wait_semaphore_infos(parts.waits()),
        vk::SubmitInfo2::default().command_buffer_infos(&infos),
        vk::SubmitInfo2::default().signal_semaphore_infos(&signals),
    ];
    for batch in batches {
        // SAFETY: the parts of an open turn; the owner keeps the commands alive.
        unsafe { rig.device().queue().submit(&[batch], vk::Fence::null()) }.unwrap();
    }
}

fn lend(turn: RenderRead<Words>, readback: &Readback) -> (LentLatest<RenderRead<Words>>, vk::CommandBuffer) {
    let commands = readback.record_read(&turn, &[(turn.resources().as_raw(), SIZE)]);
    (turn.lend().unwrap(), commands)
}

fn submitted(turn: LentLatest<RenderRead<Words>>, readback: &Readback) -> TimelinePoint {
    // SAFETY: just spliced.
    let point = unsafe { turn.submitted() };
    readback.note(point.clone());
    point
}

pub(crate) fn a_lent_turn_takes_its_frame(rig: &Rig, compute: &Compute) {
    let (filler, readback) = (Filler::new(compute), Readback::new(rig.device(), SIZE));
    let (mut writer, mut reader) = words(compute, &info());
    for frame in 0..20 {
        publish(&mut writer, &filler, 0).wait(Rig::LONG).unwrap();
        for again in [false, true] {
            let turn = reader.newest().unwrap().unwrap();
            assert_eq!((turn.frame(), turn.is_new()), (frame, !again));
            let (turn, commands) = lend(turn, &readback);
            let error = reader.newest().unwrap_err();
            assert!(matches!(error, Error::TurnOpen { stage: Stage::Submit, .. }), "{error}");
            splice(rig, &turn, &[commands]);
            submitted(turn, &readback).wait(Rig::LONG).unwrap();
            assert_eq!(frame_of(&readback.words()[..LEN]), Ok(frame));
        }
    }
    writer.close(reader).unwrap();
}

/// A lent turn that is dropped without a report, once after it was submitted and once before: both
/// of its slots are retired, later frames are right, and all slots are recovered.
pub(crate) fn a_lent_turn_of_unknown_fate_retires_its_slots(rig: &Rig, compute: &Compute) {
    let filler = Filler::new(compute);
    for happens in [false, true] {
        let readback = Readback::new(rig.device(), SIZE);
        // One readback for each lost turn, because it is unknown when its commands have completed.
        let lost = [(); 4].map(|()| Readback::new(rig.device(), SIZE));
        let mut lost = lost.iter();
        let (mut writer, mut reader) = words(compute, &LatestInfo { slots: Some(6), ..info() });
        for frame in 0..2 {
            publish(&mut writer, &filler, 0).wait(Rig::LONG).unwrap();
            if frame == 0 {
                assert_eq!(read(&mut reader, &readback), Some(0));
            }
        }
        assert_eq!(reader.retired(), 0);
        let mut lose = |reader: &mut LatestReader<Words>| {
            let (turn, commands) = lend(reader.newest().unwrap().unwrap(), lost.next().unwrap());
            if happens {
                splice(rig, &turn, &[commands]);
            }
            drop(turn);
            reader.retired()
        };
        assert_eq!(lose(&mut reader), 2);
        // The location of the last frame is unknown, and the frame before is not returned again.
        assert!(reader.newest().unwrap().is_none());
        for frame in 2..12 {
            publish(&mut writer, &filler, 0).wait(Rig::LONG).unwrap();
            assert_eq!(read(&mut reader, &readback), Some(frame), "with four slots");
        }
        publish(&mut writer, &filler, 0).wait(Rig::LONG).unwrap();
        assert_eq!(lose(&mut reader), 4);
        // The reader holds no frame now: each loss retires only the slot of its own frame.
        for retired in [5, 6] {
            publish(&mut writer, &filler, 0).wait(Rig::LONG).unwrap();
            assert_eq!(lose(&mut reader), retired);
        }
        let error = writer.begin().unwrap_err();
        assert!(matches!(error, Error::SlotsRetired { retired: 6, slots: 6, .. }), "{error}");
        reader.initialize().unwrap();
        assert_eq!(reader.retired(), 0);
        for _ in 0..20 {
            publish(&mut writer, &filler, 0).wait(Rig::LONG).unwrap();
            read(&mut reader, &readback).unwrap();
        }
        writer.close(reader).unwrap();
    }
}
