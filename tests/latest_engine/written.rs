//! Slots that are recovered while the compute side writes them.

use bridge::ash::vk;
use bridge::vk_export::ExportDevice;
use bridge::{Compute, Error, Exchange, LatestInfo, LiveObjects, Newest};
use bridge_tests::{Commands, Gate, Rig};

use crate::initial::{ROOMY, retry_until_done, spec};

/// A reader may choose an unfinished frame. If its turn was never submitted, nothing has waited for
/// that frame: the recovery of the slot does.
pub(crate) fn slots_that_are_still_written_are_waited_for(device: &ExportDevice, compute: &Compute) {
    let before = LiveObjects::now();
    let info = LatestInfo { name: "heights", newest: Newest::Published, timeout: ROOMY, ..Default::default() };
    let (mut writer, mut reader) = Exchange::latest(compute, &info, spec()).unwrap();
    retry_until_done(|| reader.initialize());
    let gate = Gate::on(writer.compute());
    let mut turn = writer.begin().unwrap();
    gate.hold_work(turn.work());
    let published = turn.publish().unwrap();
    drop(reader.newest().unwrap().unwrap().lend().unwrap());
    assert_eq!(reader.retired(), 1);

    let commands = Commands::new(device);
    let raw = commands.begin();
    // SAFETY: recording, of the right family, and never submitted.
    let turn = unsafe { reader.record_initial(raw) }.unwrap();
    commands.end();
    let wait = published.wait_info(vk::PipelineStageFlags2::ALL_COMMANDS).unwrap();
    let waits: Vec<_> = turn.parts().waits().iter().map(|wait| (wait.semaphore, wait.value, wait.stage_mask)).collect();
    assert_eq!(waits, [(wait.semaphore, wait.value, wait.stage_mask)]);
    // SAFETY: nothing was submitted.
    unsafe { turn.not_submitted() };

    let error = reader.initialize().unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    assert!(!published.is_reached().unwrap() && reader.retired() == 1);
    gate.open();
    retry_until_done(|| reader.initialize());
    assert_eq!(reader.retired(), 0);
    writer.begin().unwrap().publish().unwrap().wait(Rig::LONG).unwrap();
    reader.newest().unwrap().unwrap().read_back(Rig::LONG).unwrap();
    drop((gate, commands, published));
    writer.close(reader).unwrap();
    assert_eq!(LiveObjects::now(), before);
}
