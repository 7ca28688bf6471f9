//! The first hand-over of images.

use std::sync::Arc;
use std::time::Instant;

use bridge::ash::vk;
use bridge::vk_export;
use bridge::vk_export::{ExportDevice, QueueLock};
use bridge::{
    Backend, Compute, Error, Exchange, ExchangeInfo, ImageAccess, ImageSpec, LatestInfo, LatestReader, LatestWriter,
    LiveObjects,
};
use bridge_tests::{Commands, Engine, Rig};

use crate::stand_ins::{late, refused};

type Heights = ImageSpec<f32>;

fn spec() -> Heights {
    Heights::new(vk::Format::R32_SFLOAT, [16, 16], ImageAccess::TRANSFER_READ)
}

fn latest(compute: &Compute) -> (LatestWriter<Heights>, LatestReader<Heights>) {
    let info = LatestInfo { name: "heights", timeout: Rig::LONG, ..Default::default() };
    let (writer, reader) = Exchange::latest(compute, &info, spec()).unwrap();
    assert!(reader.needs_initial());
    (writer, reader)
}

fn in_step(compute: &Compute) -> Exchange<Heights> {
    let info = ExchangeInfo { name: "in step", timeout: Rig::LONG, ..Default::default() };
    Exchange::new(compute, &info, spec()).unwrap()
}

pub(crate) fn closing_beside_an_open_hand_over_is_refused_at_once(device: &ExportDevice, compute: &Compute) {
    let before = LiveObjects::now();
    let commands = Commands::new(device);
    let ((writer, mut reader), start) = (latest(compute), Instant::now());
    let raw = commands.begin();
    // SAFETY: recording, of the right family, and never submitted.
    let turn = unsafe { reader.record_initial(raw) }.unwrap();
    commands.end();
    let error = writer.close(reader).unwrap_err();
    assert!(matches!(error, Error::NotInitialised { .. }), "{error}");
    // SAFETY: nothing was submitted.
    unsafe { turn.not_submitted() };
    assert!(start.elapsed() < Rig::LONG / 2, "it was waited for: {:?}", start.elapsed());
    assert_eq!(LiveObjects::now(), before);
}

pub(crate) fn a_refused_hand_over_costs_nothing(_: &ExportDevice, compute: &Compute) {
    for again in [false, true] {
        let before = LiveObjects::now();
        let (writer, mut reader) = latest(compute);
        refused(|| reader.initialise()).unwrap_err();
        let mut in_step = in_step(compute);
        refused(|| in_step.initialise()).unwrap_err();
        if again {
            reader.initialise().unwrap();
            in_step.initialise().unwrap();
        }
        writer.close(reader).unwrap();
        in_step.close().unwrap();
        assert_eq!(LiveObjects::now(), before, "initialised after all: {again}");
    }
    // The slots of a lent turn that was dropped.
    let before = LiveObjects::now();
    let (mut writer, mut reader) = latest(compute);
    reader.initialise().unwrap();
    writer.begin().unwrap().publish().unwrap().wait(Rig::LONG).unwrap();
    drop(reader.newest().unwrap().unwrap().lend().unwrap());
    refused(|| reader.initialise()).unwrap_err();
    assert_eq!(reader.retired(), 1);
    reader.initialise().unwrap();
    assert_eq!(reader.retired(), 0);
    // The turn that was lost has a value that nobody signals so far.
    writer.begin().unwrap().publish().unwrap().wait(Rig::LONG).unwrap();
    reader.newest().unwrap().unwrap().read_back(Rig::LONG).unwrap();
    writer.close(reader).unwrap();
    assert_eq!(LiveObjects::now(), before);
}

pub(crate) fn a_hand_over_that_is_late_costs_nothing_once_it_ran(device: &ExportDevice, compute: &Compute) {
    let is_late = |result: bridge::Result<()>| {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Vulkan(vk_export::Error::Unfinished { .. })), "{error}");
    };
    let before = LiveObjects::now();
    let (writer, mut reader) = latest(compute);
    is_late(late(|| reader.initialise()));
    reader.initialise().unwrap();
    writer.close(reader).unwrap();
    let mut first = in_step(compute);
    is_late(late(|| first.initialise()));
    first.initialise().unwrap();
    first.close().unwrap();
    // Or behind one that the engine submits.
    let (commands, mut second) = (Commands::new(device), in_step(compute));
    is_late(late(|| second.initialise()));
    let raw = commands.begin();
    // SAFETY: recording, of the right family, submitted once below.
    let turn = unsafe { second.record_initial(raw) }.unwrap();
    commands.end();
    let (infos, signals) = ([vk::CommandBufferSubmitInfo::default().command_buffer(raw)], [turn.signal()]);
    let batch = vk::SubmitInfo2::default().command_buffer_infos(&infos).signal_semaphore_infos(&signals);
    // SAFETY: the commands live until the wait below is over.
    unsafe { device.queue().submit(&[batch], vk::Fence::null()) }.unwrap();
    // SAFETY: they were submitted a moment ago.
    unsafe { turn.submitted() }.wait(Rig::LONG).unwrap();
    second.close().unwrap();
    assert_eq!(LiveObjects::now(), before);
    // Without another, it may still run: all is kept.
    let leaked = LiveObjects::now();
    let (writer, mut reader) = latest(compute);
    is_late(late(|| reader.initialise()));
    let slots = writer.slots();
    drop((writer, reader));
    assert_eq!(LiveObjects::now().leaked_images, leaked.leaked_images + slots);
}

/// Of an engine that submits nothing beside the bridge.
struct Alone;

impl QueueLock for Alone {
    fn with(&self, _: vk::Queue, f: &mut dyn FnMut()) {
        f();
    }
}

/// Where the constructor hands new images over itself.
pub(crate) fn no_exchange_is_left_by_a_refused_hand_over(engine: &Engine) {
    let mut info = engine.info();
    info.queue_lock = Some(Arc::new(Alone));
    // SAFETY: the engine's own handles, which live forever.
    let device = unsafe { ExportDevice::adopt(info) }.unwrap();
    let compute = Compute::new(&device, Backend::Host).unwrap();
    let before = LiveObjects::now();
    refused(|| Exchange::latest(&compute, &LatestInfo::default(), spec()).map(drop)).unwrap_err();
    refused(|| Exchange::new(&compute, &ExchangeInfo::default(), spec()).map(drop)).unwrap_err();
    assert_eq!(LiveObjects::now(), before);
}
