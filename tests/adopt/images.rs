//! New images on an engine's device.

use bridge::ash::vk;
use bridge::vk_export::ExportDevice;
use bridge::{Backend, Compute, Exchange, ExchangeInfo, ImageAccess, ImageSpec, LatestInfo, LiveObjects, QueueKind};
use bridge_tests::{Commands, Engine, Gate, Rig, case_on};

/// The bridge submits nothing on its own: the engine hands over new images itself.
pub(super) fn new_images_wait_for_the_engine(backend: Backend) {
    let engine = Engine::new(None);
    // SAFETY: the engine's own handles, which outlive the function.
    let device = unsafe { ExportDevice::adopt(engine.info()) }.unwrap();
    let Some(compute) = case_on(&device, backend, "new_images_wait_for_the_engine") else { return };
    let image = || ImageSpec::<f32>::new(vk::Format::R32_SFLOAT, [16, 16], ImageAccess::TRANSFER_READ);
    let info = ExchangeInfo { name: "images", slots: 2, timeout: Rig::LONG, ..Default::default() };
    let commands = Commands::new(&device);
    let mut exchange = Exchange::new(&compute, &info, image()).unwrap();
    assert!(exchange.needs_initial());
    let error = exchange.begin().unwrap_err();
    assert!(error.to_string().contains("Exchange::initialize"), "{error}");

    // If an initial turn is dropped or reported as not submitted, the hand-over must be recorded
    // again.
    let raw = commands.begin();
    // SAFETY: it is recording; commands recorded in vain are never submitted.
    drop(unsafe { exchange.record_initial(raw) }.unwrap());
    // SAFETY: as above.
    let initial = unsafe { exchange.record_initial(raw) }.unwrap();
    // SAFETY: as above.
    unsafe { exchange.record_initial(raw) }.unwrap_err();
    // SAFETY: it was not submitted.
    unsafe { initial.not_submitted() };
    commands.end();
    assert!(exchange.begin().is_err() && exchange.needs_initial());

    let raw = commands.begin();
    // SAFETY: it is recording, and is submitted below.
    let initial = unsafe { exchange.record_initial(raw) }.unwrap();
    commands.end();
    let (infos, signals) = ([vk::CommandBufferSubmitInfo::default().command_buffer(raw)], [initial.parts().signal()]);
    let batch = vk::SubmitInfo2::default().command_buffer_infos(&infos).signal_semaphore_infos(&signals);
    // SAFETY: the engine's own submission; closing waits for it.
    unsafe { device.queue().submit(&[batch], vk::Fence::null()) }.unwrap();
    // SAFETY: it was just submitted.
    let handed_over = unsafe { initial.submitted() };
    commands.note(handed_over.clone());
    for _ in 0..3 {
        let turn = exchange.begin().unwrap().finish().unwrap();
        assert!(turn.computed().wait(Rig::LONG).is_ok() && handed_over.is_reached().unwrap(), "the first use waits");
        let recorded = commands.record(&turn, |_| {});
        // SAFETY: recorded with the turn's barriers; waited for.
        unsafe { turn.submit(&[recorded]) }.unwrap().wait(Rig::LONG).unwrap();
    }
    exchange.close().unwrap();

    new_sizes_wait_for_the_engine(&compute, &commands);
    new_images_of_a_latest_exchange_wait_for_the_engine(&compute, &commands);

    // In one call, at a time that the engine chooses.
    let mut exchange = Exchange::render_first(&compute, &info, image()).unwrap();
    exchange.initialize().unwrap();
    exchange.initialize().unwrap();
    exchange.begin().unwrap().skip();
    exchange.close().unwrap();
}

/// Images that replace others are new: the engine hands them over again, while it still uses the
/// old ones.
fn new_sizes_wait_for_the_engine(compute: &Compute, commands: &Commands) {
    let device = compute.device();
    let image = ImageSpec::<f32>::new(vk::Format::R32_SFLOAT, [16, 16], ImageAccess::TRANSFER_READ);
    let info = ExchangeInfo { name: "window", slots: 2, timeout: Rig::LONG, ..Default::default() };
    let before = LiveObjects::now();
    let mut exchange = Exchange::new(compute, &info, image).unwrap();
    // Resized before its first use.
    exchange.resize([20, 20]).unwrap();
    exchange.initialize().unwrap();
    for side in [24, 32] {
        let gate = Gate::new(device);
        gate.hold_queue(device, QueueKind::Graphics);
        let turn = exchange.begin().unwrap().finish().unwrap();
        let recorded = commands.record(&turn, |_| {});
        // SAFETY: recorded with the turn's barriers; waited for when the command buffer is recorded
        // again.
        let old = unsafe { turn.submit(&[recorded]) }.unwrap();
        exchange.resize([side, side]).unwrap();
        assert!(exchange.needs_initial() && !old.is_reached().unwrap(), "nothing is waited for, nothing is submitted");
        assert!(matches!(exchange.begin(), Err(bridge::Error::NotInitialized { .. })));
        gate.open();
        old.wait(Rig::LONG).unwrap();
        let raw = commands.begin();
        // SAFETY: it is recording, and is submitted below.
        let initial = unsafe { exchange.record_initial(raw) }.unwrap();
        commands.end();
        let error = exchange.resize([1, 1]).unwrap_err().to_string();
        assert!(error.contains("`InitialTurn`"), "{error}");
        let (infos, signals) =
            ([vk::CommandBufferSubmitInfo::default().command_buffer(raw)], [initial.parts().signal()]);
        let batch = vk::SubmitInfo2::default().command_buffer_infos(&infos).signal_semaphore_infos(&signals);
        // SAFETY: the engine's own submission; closing waits for it.
        unsafe { device.queue().submit(&[batch], vk::Fence::null()) }.unwrap();
        // SAFETY: it was just submitted.
        commands.note(unsafe { initial.submitted() });
        let turn = exchange.begin().unwrap().finish().unwrap();
        assert_eq!(turn.resources().extent(), [side, side, 1]);
        turn.skip();
    }
    // A lent turn that was dropped may have been submitted: images can still be resized, and the
    // resources that it may use are kept.
    drop(exchange.begin().unwrap().finish().unwrap().lend().unwrap());
    exchange.resize([8, 8]).unwrap();
    assert!(matches!(exchange.begin(), Err(bridge::Error::NotInitialized { .. })));
    assert!(
        LiveObjects::now().images >= before.images + 4,
        "the old images are kept until a later signal of the queue"
    );
    // The hand-over makes that signal.
    exchange.initialize().unwrap();
    exchange.begin().unwrap().skip().unwrap();
    let turn = exchange.begin().unwrap().finish().unwrap();
    let recorded = commands.record(&turn, |_| {});
    // SAFETY: recorded with the turn's barriers; waited for immediately.
    unsafe { turn.submit(&[recorded]) }.unwrap().wait(Rig::LONG).unwrap();
    exchange.close().unwrap();
    assert_eq!(LiveObjects::now(), before);
}

/// The same for a latest exchange, in which the engine's side is the reader.
fn new_images_of_a_latest_exchange_wait_for_the_engine(compute: &Compute, commands: &Commands) {
    let before = LiveObjects::now();
    for in_one_call in [false, true] {
        let image = ImageSpec::<f32>::new(vk::Format::R32_SFLOAT, [16, 16], ImageAccess::TRANSFER_READ);
        let info = LatestInfo { name: "newest", timeout: Rig::LONG, ..Default::default() };
        let (mut writer, mut reader) = Exchange::latest(compute, &info, image).unwrap();
        assert!(reader.needs_initial());
        let error = writer.begin().unwrap_err();
        assert!(matches!(error, bridge::Error::NotInitialized { .. }), "{error}");
        assert!(reader.newest().unwrap().is_none());
        if in_one_call {
            reader.initialize().unwrap();
        } else {
            let raw = commands.begin();
            // SAFETY: it is recording, and is submitted below.
            let initial = unsafe { reader.record_initial(raw) }.unwrap();
            commands.end();
            let (infos, signals) =
                ([vk::CommandBufferSubmitInfo::default().command_buffer(raw)], [initial.parts().signal()]);
            let batch = vk::SubmitInfo2::default().command_buffer_infos(&infos).signal_semaphore_infos(&signals);
            let gate = Gate::new(compute.device());
            gate.hold_queue(compute.device(), QueueKind::Graphics);
            // SAFETY: the engine's own submission; closing waits for it.
            unsafe { compute.device().queue().submit(&[batch], vk::Fence::null()) }.unwrap();
            // SAFETY: it was just submitted.
            commands.note(unsafe { initial.submitted() });
            let published = writer.begin().unwrap().publish().unwrap();
            assert!(published.wait(Rig::MOMENT).is_err(), "the first use waits");
            gate.open();
            published.wait(Rig::LONG).unwrap();
        }
        for _ in 0..12 {
            writer.begin().unwrap().publish().unwrap().wait(Rig::LONG).unwrap();
            assert_eq!(reader.newest().unwrap().unwrap().read_back(Rig::LONG).unwrap().len(), 256);
        }
        commands.finish();
        writer.close(reader).unwrap();
    }
    assert_eq!(LiveObjects::now(), before);
}
