//! Turns that an engine submits itself.

use bridge::ash::vk;
use bridge::{Compute, Error, LatestInfo, LentLatest, RenderRead, TimelinePoint};
use bridge_tests::{Filler, Readback, Rig};

use crate::{LEN, SIZE, Words, frame_of, info, publish, read, words};

/// What an engine does with the parts.
fn splice(rig: &Rig, turn: &LentLatest<RenderRead<Words>>, commands: &[vk::CommandBuffer]) {
    let parts = turn.parts();
    let infos: Vec<_> =
        commands.iter().map(|raw| vk::CommandBufferSubmitInfo::default().command_buffer(*raw)).collect();
    let signals = [parts.signal()];
    // The wait before, and the signal behind, in submissions of their own, as wgpu needs it.
    let batches = [
        vk::SubmitInfo2::default().wait_semaphore_infos(parts.waits()),
        vk::SubmitInfo2::default().command_buffer_infos(&infos),
        vk::SubmitInfo2::default().signal_semaphore_infos(&signals),
    ];
    for batch in batches {
        // SAFETY: the parts of an open turn; the commands are kept by their owner.
        unsafe { rig.device().queue().submit(&[batch], vk::Fence::null()) }.unwrap();
    }
}

fn lend(turn: RenderRead<Words>, readback: &Readback) -> (LentLatest<RenderRead<Words>>, vk::CommandBuffer) {
    let commands = readback.record_read(&turn, &[(turn.resources().as_raw(), SIZE)]);
    (turn.lend().unwrap(), commands)
}

fn submitted(turn: LentLatest<RenderRead<Words>>, readback: &Readback) -> TimelinePoint {
    // SAFETY: it was spliced a moment ago.
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
            assert!(matches!(error, Error::TurnOpen { .. }), "{error}");
            splice(rig, &turn, &[commands]);
            submitted(turn, &readback).wait(Rig::LONG).unwrap();
            assert_eq!(frame_of(&readback.words()[..LEN]), Ok(frame));
        }
    }
    writer.close(reader).unwrap();
}

/// Dropped without a word, once after it was submitted and once before: either way both of its
/// slots are out of use, what comes later is right, and all are brought back.
pub(crate) fn a_lent_turn_of_unknown_fate_retires_its_slots(rig: &Rig, compute: &Compute) {
    let filler = Filler::new(compute);
    for happens in [false, true] {
        let (readback, lost) = (Readback::new(rig.device(), SIZE), Readback::new(rig.device(), SIZE));
        let (mut writer, mut reader) = words(compute, &LatestInfo { slots: 6, ..info() });
        for frame in 0..2 {
            publish(&mut writer, &filler, 0).wait(Rig::LONG).unwrap();
            if frame == 0 {
                assert_eq!(read(&mut reader, &readback), Some(0));
            }
        }
        assert_eq!(reader.retired(), 0);
        let (turn, commands) = lend(reader.newest().unwrap().unwrap(), &lost);
        if happens {
            splice(rig, &turn, &[commands]);
        }
        drop(turn);
        assert_eq!(reader.retired(), 2);
        // Nobody knows where the last frame is, and the one before does not come back.
        assert!(reader.newest().unwrap().is_none());
        for frame in 2..12 {
            publish(&mut writer, &filler, 0).wait(Rig::LONG).unwrap();
            assert_eq!(read(&mut reader, &readback), Some(frame), "with four slots");
        }
        let (turn, commands) = {
            publish(&mut writer, &filler, 0).wait(Rig::LONG).unwrap();
            lend(reader.newest().unwrap().unwrap(), &lost)
        };
        if happens {
            splice(rig, &turn, &[commands]);
        }
        drop(turn);
        assert_eq!(reader.retired(), 4);
        // Two slots are left: one holds what the reader may want next.
        let told = (0..3).find_map(|_| match writer.begin() {
            Ok(mut turn) => {
                let frame = turn.frame();
                filler.fill_work(turn.work(), crate::base(frame), std::time::Duration::ZERO);
                let published = turn.publish().unwrap();
                published.wait(Rig::LONG).unwrap();
                assert_eq!(read(&mut reader, &readback), Some(frame));
                None
            }
            Err(error) => Some(error),
        });
        if let Some(error) = told {
            assert!(matches!(error, Error::SlotsRetired { retired: 4, slots: 6, .. }), "{error}");
        }
        reader.initialize().unwrap();
        assert_eq!(reader.retired(), 0);
        for _ in 0..20 {
            publish(&mut writer, &filler, 0).wait(Rig::LONG).unwrap();
            read(&mut reader, &readback).unwrap();
        }
        writer.close(reader).unwrap();
    }
}
