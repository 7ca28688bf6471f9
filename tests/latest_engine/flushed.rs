//! Lent turns that were dropped.

use bridge::ash::vk;
use bridge::vk_export::ExportDevice;
use bridge::{
    BufferAccess, BufferSpec, Compute, Error, Exchange, ImageAccess, ImageSpec, LatestInfo, LiveObjects, Stage,
    SubmitParts,
};
use bridge_tests::{Commands, Rig};

/// Without a later turn, the parts of a flush prove to `close` that nothing is in use, whether or
/// not the lost turn was submitted.
pub(crate) fn the_parts_of_a_flush_prove_the_end(device: &ExportDevice, compute: &Compute) {
    for happens in [false, true] {
        let before = LiveObjects::now();
        let info = LatestInfo { name: "lost", timeout: Rig::LONG, ..Default::default() };
        let spec = BufferSpec::<u32>::new(16, BufferAccess::TRANSFER_READ);
        let (mut writer, mut reader) = Exchange::latest(compute, &info, spec).unwrap();
        writer.begin().unwrap().publish().unwrap().wait(Rig::LONG).unwrap();
        assert!(reader.flush_parts().unwrap().is_none(), "nothing is lost");
        let turn = reader.newest().unwrap().unwrap().lend().unwrap();
        assert!(reader.flush_parts().unwrap().is_none(), "the turn's own signal is to come");
        if happens {
            let (parts, signals) = (turn.parts(), [turn.parts().signal()]);
            let batch = vk::SubmitInfo2::default().wait_semaphore_infos(parts.waits()).signal_semaphore_infos(&signals);
            // SAFETY: the parts of an open turn, unchanged.
            unsafe { device.queue().submit(&[batch], vk::Fence::null()) }.unwrap();
        }
        drop(turn);
        assert_eq!(reader.retired(), 1);
        let parts = reader.flush_parts().unwrap().unwrap();
        let signals = [parts.signal()];
        let batch = vk::SubmitInfo2::default().wait_semaphore_infos(parts.waits()).signal_semaphore_infos(&signals);
        // SAFETY: the unchanged parts; closing waits for the signal.
        unsafe { device.queue().submit(&[batch], vk::Fence::null()) }.unwrap();
        writer.close(reader).unwrap();
        assert_eq!(LiveObjects::now(), before);
    }
}

/// Both refusals while a turn and a hand-over of slots are open name the turn, which is not lent.
pub(crate) fn an_open_turn_beside_a_lent_hand_over_is_no_lent_turn(device: &ExportDevice, compute: &Compute) {
    let (before, commands) = (LiveObjects::now(), Commands::new(device));
    let info = LatestInfo { name: "beside", timeout: Rig::LONG, ..Default::default() };
    let spec = BufferSpec::<u32>::new(16, BufferAccess::TRANSFER_READ);
    let (mut writer, mut reader) = Exchange::latest(compute, &info, spec).unwrap();
    writer.begin().unwrap().publish().unwrap().wait(Rig::LONG).unwrap();
    let lent = reader.newest().unwrap().unwrap().lend().unwrap();
    let error = reader.newest().unwrap_err();
    assert!(matches!(error, Error::TurnOpen { frame: 0, stage: Stage::Submit, .. }), "the control: {error}");
    drop(lent);
    assert_eq!(reader.retired(), 1);
    writer.begin().unwrap().publish().unwrap().wait(Rig::LONG).unwrap();
    let open = reader.newest().unwrap().unwrap();
    // SAFETY: recording, of the right family, and never submitted.
    let hand_over = unsafe { reader.record_initial(commands.begin()) }.unwrap();
    commands.end();
    let error = reader.newest().unwrap_err();
    assert!(matches!(error, Error::TurnOpen { frame: 1, stage: Stage::Render, .. }), "{error}");
    assert!(error.to_string().ends_with("submit or skip it first"), "{error}");
    open.skip();
    let lent = reader.newest().unwrap().unwrap().lend().unwrap_err();
    assert!(lent.to_string().contains("`InitialTurn`"), "the hand-over ends before a turn is submitted: {lent}");
    // SAFETY: nothing was submitted.
    unsafe { hand_over.not_submitted() };
    let parts = reader.flush_parts().unwrap().unwrap();
    let signals = [parts.signal()];
    let batch = vk::SubmitInfo2::default().wait_semaphore_infos(parts.waits()).signal_semaphore_infos(&signals);
    // SAFETY: the unchanged parts; closing waits for the signal.
    unsafe { device.queue().submit(&[batch], vk::Fence::null()) }.unwrap();
    drop(commands);
    writer.close(reader).unwrap();
    assert_eq!(LiveObjects::now(), before);
}

/// Retired slots are recovered by the engine's submissions, repeatedly, whether or not the lost
/// turns and earlier attempts were submitted.
pub(crate) fn submissions_of_the_engine_recover_slots(device: &ExportDevice, compute: &Compute) {
    let (before, commands, lost) = (LiveObjects::now(), Commands::new(device), Commands::new(device));
    let info = LatestInfo { name: "revived", timeout: Rig::LONG, ..Default::default() };
    let heights = ImageSpec::<f32>::new(vk::Format::R32_SFLOAT, [16, 16], ImageAccess::TRANSFER_READ);
    let numbers = BufferSpec::<u32>::new(16, BufferAccess::TRANSFER_READ);
    let (mut writer, mut reader) = Exchange::latest(compute, &info, (heights, numbers)).unwrap();
    reader.initialize().unwrap();
    let submit = |recorded, waits: &[_], signal| {
        let infos = [vk::CommandBufferSubmitInfo::default().command_buffer(recorded)];
        let (batch, signals) = (vk::SubmitInfo2::default().command_buffer_infos(&infos), [signal]);
        let batch = batch.wait_semaphore_infos(waits).signal_semaphore_infos(&signals);
        // SAFETY: the parts of an open turn, unchanged, with its commands, which live until the
        // queue was waited for below.
        unsafe { device.queue().submit(&[batch], vk::Fence::null()) }.unwrap();
    };
    for round in 0..12 {
        let happens = round % 2 == 0;
        // Earlier submissions, including the lost turn's commands, have completed.
        commands.finish();
        writer.begin().unwrap().publish().unwrap().wait(Rig::LONG).unwrap();
        let turn = reader.newest().unwrap().unwrap().lend().unwrap();
        if happens {
            let raw = lost.begin();
            // SAFETY: recording, of the right family, submitted with this turn.
            unsafe { turn.record_acquire(raw) };
            lost.end();
            submit(raw, turn.parts().waits(), turn.parts().signal());
        }
        drop(turn);
        assert!(reader.retired() > 0);
        // The first attempt is withdrawn, the second is lost, and the third is submitted.
        for attempt in 0..3 {
            let raw = commands.begin();
            // SAFETY: recording, of the right family, and submitted below or not at all.
            let revived = unsafe { reader.record_initial(raw) }.unwrap();
            // SAFETY: as above.
            let again = unsafe { reader.record_initial(raw) }.unwrap_err();
            assert!(matches!(again, Error::OutOfOrder { .. }), "{again}");
            commands.end();
            match attempt {
                // SAFETY: nothing was submitted.
                0 => unsafe { revived.not_submitted() },
                1 => drop(revived),
                _ => {
                    submit(raw, revived.parts().waits(), revived.parts().signal());
                    // SAFETY: just submitted.
                    commands.note(unsafe { revived.submitted() });
                }
            }
            assert_eq!(reader.retired() > 0, attempt < 2);
        }
        // The writer and the reader continue.
        writer.begin().unwrap().publish().unwrap().wait(Rig::LONG).unwrap();
        let turn = reader.newest().unwrap().unwrap();
        assert!(turn.is_new());
        let raw = commands.begin();
        // SAFETY: recording, of the right family, submitted with this turn.
        unsafe { turn.record_acquire(raw) };
        commands.end();
        let lent = turn.lend().unwrap();
        submit_legacy(device, raw, &lent.parts());
        // SAFETY: just submitted.
        commands.note(unsafe { lent.submitted() });
    }
    // SAFETY: recording, and never submitted.
    let none = unsafe { reader.record_initial(commands.begin()) }.unwrap_err();
    assert!(matches!(none, Error::InvalidArgument { .. }), "{none}");
    commands.end();
    writer.close(reader).unwrap();
    drop((commands, lost));
    assert_eq!(LiveObjects::now(), before);
}

/// Submits a turn's commands with `vkQueueSubmit`, as an engine does.
fn submit_legacy(device: &ExportDevice, commands: vk::CommandBuffer, parts: &SubmitParts) {
    let legacy = parts.legacy();
    assert_eq!(legacy.wait_values().len(), parts.waits().len());
    for (i, wait) in parts.waits().iter().enumerate() {
        assert_eq!((legacy.wait_semaphores()[i], legacy.wait_values()[i]), (wait.semaphore, wait.value));
        assert!(!legacy.wait_stages()[i].is_empty());
    }
    let (commands, signals, values) = ([commands], [legacy.signal_semaphore()], [legacy.signal_value()]);
    let mut timelines = vk::TimelineSemaphoreSubmitInfo::default()
        .wait_semaphore_values(legacy.wait_values())
        .signal_semaphore_values(&values);
    let batch = vk::SubmitInfo::default()
        .command_buffers(&commands)
        .wait_semaphores(legacy.wait_semaphores())
        .wait_dst_stage_mask(legacy.wait_stages())
        .signal_semaphores(&signals)
        .push_next(&mut timelines);
    let submit = |queue| {
        // SAFETY: the parts of an open turn, unchanged, with its commands, which the caller keeps
        // until they have completed; the queue is locked.
        unsafe { device.as_raw().queue_submit(queue, &[batch], vk::Fence::null()) }
    };
    device.queue().with(submit).unwrap().unwrap();
}
