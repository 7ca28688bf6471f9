//! The first hand-over of images.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge::ash::vk;
use bridge::vk_export;
use bridge::vk_export::{ExportDevice, QueueLock};
use bridge::{
    Backend, Compute, Error, Exchange, ExchangeInfo, ImageAccess, ImageSpec, LatestInfo, LatestReader, LatestWriter,
    LiveObjects, QueueKind, TimelinePoint,
};
use bridge_tests::{Commands, Engine, Gate, Rig};

use crate::stand_ins::{while_late, while_refused};

pub(crate) type Heights = ImageSpec<f32>;

pub(crate) fn spec() -> Heights {
    Heights::new(vk::Format::R32_SFLOAT, [16, 16], ImageAccess::TRANSFER_READ)
}

/// The timeout of hand-overs that a gate delays longer; no hand-over has to complete within it.
const SHORT: Duration = Duration::from_millis(500);

/// The timeout where a gate delays one hand-over longer, and others have to complete within it.
pub(crate) const ROOMY: Duration = Duration::from_secs(5);

fn latest(compute: &Compute) -> (LatestWriter<Heights>, LatestReader<Heights>) {
    latest_within(compute, Rig::LONG)
}

fn latest_within(compute: &Compute, timeout: Duration) -> (LatestWriter<Heights>, LatestReader<Heights>) {
    let info = LatestInfo { name: "heights", timeout, ..Default::default() };
    let (writer, reader) = Exchange::latest(compute, &info, spec()).unwrap();
    assert!(reader.needs_initial());
    (writer, reader)
}

fn in_step(compute: &Compute) -> Exchange<Heights> {
    in_step_within(compute, Rig::LONG)
}

fn in_step_within(compute: &Compute, timeout: Duration) -> Exchange<Heights> {
    let info = ExchangeInfo { name: "in step", timeout, ..Default::default() };
    Exchange::new(compute, &info, spec()).unwrap()
}

pub(crate) fn closing_during_an_open_hand_over_is_refused(device: &ExportDevice, compute: &Compute) {
    let before = LiveObjects::now();
    let commands = Commands::new(device);
    let ((writer, mut reader), start) = (latest(compute), Instant::now());
    let raw = commands.begin();
    // SAFETY: recording, of the right family, and never submitted.
    let turn = unsafe { reader.record_initial(raw) }.unwrap();
    commands.end();
    let error = writer.close(reader).unwrap_err();
    assert!(error.to_string().ends_with("is lent; end that `InitialTurn` first"), "{error}");
    // SAFETY: nothing was submitted.
    unsafe { turn.not_submitted() };
    assert!(start.elapsed() < Rig::LONG / 2, "it was waited for: {:?}", start.elapsed());
    assert_eq!(LiveObjects::now(), before);
}

pub(crate) fn a_refused_hand_over_costs_nothing(_: &ExportDevice, compute: &Compute) {
    for again in [false, true] {
        let before = LiveObjects::now();
        let (writer, mut reader) = latest(compute);
        while_refused(|| reader.initialize()).unwrap_err();
        let mut in_step = in_step(compute);
        while_refused(|| in_step.initialize()).unwrap_err();
        if again {
            reader.initialize().unwrap();
            in_step.initialize().unwrap();
        }
        writer.close(reader).unwrap();
        in_step.close().unwrap();
        assert_eq!(LiveObjects::now(), before, "initialized after all: {again}");
    }
    // The slots of a dropped lent turn.
    let before = LiveObjects::now();
    let (mut writer, mut reader) = latest(compute);
    reader.initialize().unwrap();
    writer.begin().unwrap().publish().unwrap().wait(Rig::LONG).unwrap();
    drop(reader.newest().unwrap().unwrap().lend().unwrap());
    while_refused(|| reader.initialize()).unwrap_err();
    assert_eq!(reader.retired(), 1);
    reader.initialize().unwrap();
    assert_eq!(reader.retired(), 0);
    // The value of the lost turn has not been signaled yet.
    writer.begin().unwrap().publish().unwrap().wait(Rig::LONG).unwrap();
    reader.newest().unwrap().unwrap().read_back(Rig::LONG).unwrap();
    writer.close(reader).unwrap();
    assert_eq!(LiveObjects::now(), before);
}

/// Makes a call that waits for the queue, which a gate holds, and checks that it times out.
fn assert_times_out(gate: &Gate, device: &ExportDevice, initialize: impl FnOnce() -> bridge::Result<()>) {
    gate.hold_queue(device, QueueKind::Graphics);
    let error = initialize().unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    assert!(!gate.is_open());
}

/// Repeats the hand-over until it succeeds: a hand-over that timed out is submitted again.
pub(crate) fn retry_until_done(mut initialize: impl FnMut() -> bridge::Result<()>) {
    let start = Instant::now();
    while let Err(error) = initialize() {
        assert!(matches!(error, Error::Timeout { .. }) && start.elapsed() < Rig::LONG, "{error}");
    }
}

/// Submits a hand-over as an engine does, and waits for it.
fn hand_over(device: &ExportDevice, exchange: &mut Exchange<Heights>) {
    let commands = Commands::new(device);
    // SAFETY: the commands live until the wait is over.
    unsafe { submit(device, exchange, &commands) }.wait(Rig::LONG).unwrap();
}

/// Submits a hand-over as an engine does.
///
/// # Safety
/// `commands` lives until the point is reached.
unsafe fn submit(device: &ExportDevice, exchange: &mut Exchange<Heights>, commands: &Commands) -> TimelinePoint {
    let raw = commands.begin();
    // SAFETY: recording, of the right family, submitted once below.
    let turn = unsafe { exchange.record_initial(raw) }.unwrap();
    commands.end();
    let (infos, signals) = ([vk::CommandBufferSubmitInfo::default().command_buffer(raw)], [turn.parts().signal()]);
    let batch = vk::SubmitInfo2::default().command_buffer_infos(&infos).signal_semaphore_infos(&signals);
    // SAFETY: the commands live, by this function's contract.
    unsafe { device.queue().submit(&[batch], vk::Fence::null()) }.unwrap();
    // SAFETY: just submitted.
    unsafe { turn.submitted() }
}

pub(crate) fn a_late_hand_over_costs_nothing_once_it_ran(device: &ExportDevice, compute: &Compute) {
    let (before, pools) = (LiveObjects::now(), command_pools(device));
    let (writer, mut reader) = latest_within(compute, SHORT);
    assert_times_out(&Gate::new(device), device, || reader.initialize());
    retry_until_done(|| reader.initialize());
    writer.close(reader).unwrap();
    let mut first = in_step_within(compute, SHORT);
    assert_times_out(&Gate::new(device), device, || first.initialize());
    retry_until_done(|| first.initialize());
    first.close().unwrap();
    // The delayed hand-over may also end with one that the engine submits, or by itself.
    let mut second = in_step_within(compute, SHORT);
    assert_times_out(&Gate::new(device), device, || second.initialize());
    hand_over(device, &mut second);
    second.close().unwrap();
    let mut third = in_step_within(compute, SHORT);
    assert_times_out(&Gate::new(device), device, || third.initialize());
    third.close().unwrap();
    slots_that_are_revived_late(device, compute);
    assert_eq!(LiveObjects::now(), before);
    assert_eq!(command_pools(device), pools, "the device is never released");
    // While it may still run, everything is kept.
    let (writer, mut reader) = latest_within(compute, SHORT);
    let gate = Gate::new(device);
    assert_times_out(&gate, device, || reader.initialize());
    let slots = writer.slots();
    drop((writer, reader));
    assert!(!gate.is_open());
    let now = LiveObjects::now();
    assert_eq!(now.leaked_images, before.leaked_images + slots);
    assert_eq!(now.leaked_command_pools, before.leaked_command_pools + 1);
}

/// Slots of a dropped lent turn: the commands of a delayed hand-over are freed while the exchange
/// continues.
fn slots_that_are_revived_late(device: &ExportDevice, compute: &Compute) {
    let pools = command_pools(device);
    let (mut writer, mut reader) = latest_within(compute, ROOMY);
    retry_until_done(|| reader.initialize());
    let publish = |writer: &mut LatestWriter<Heights>| {
        writer.begin().unwrap().publish().unwrap().wait(Rig::LONG).unwrap();
    };
    publish(&mut writer);
    drop(reader.newest().unwrap().unwrap().lend().unwrap());
    assert_times_out(&Gate::new(device), device, || reader.initialize());
    retry_until_done(|| reader.initialize());
    publish(&mut writer);
    let mut turn = || reader.newest().unwrap().unwrap();
    // SAFETY: no commands.
    unsafe { turn().submit(&[]) }.unwrap().wait(Rig::LONG).unwrap();
    turn().skip();
    assert_eq!(command_pools(device), pools);
    writer.close(reader).unwrap();
}

/// Returns the number of live command pools of hand-overs.
fn command_pools(device: &ExportDevice) -> usize {
    let alive = device.clone().try_release().unwrap_err().alive;
    alive.iter().filter(|object| object.contains("first hand-over")).count()
}

/// Images that were replaced while their hand-over may still run are kept until it has completed,
/// regardless of later hand-overs.
pub(crate) fn images_replaced_after_a_late_hand_over_live_until_it_ran(device: &ExportDevice, compute: &Compute) {
    let before = LiveObjects::now();
    for again in [false, true] {
        let mut exchange = in_step_within(compute, SHORT);
        let images = LiveObjects::now().images - before.images;
        let gate = Gate::new(device);
        assert_times_out(&gate, device, || exchange.initialize());
        exchange.resize([32, 32]).unwrap();
        let commands = Commands::new(device);
        if again {
            // SAFETY: the commands live until the queue was waited for.
            let _ = unsafe { submit(device, &mut exchange, &commands) };
            exchange.begin().unwrap().skip().unwrap();
        } else {
            exchange.begin().unwrap_err();
        }
        assert!(!gate.is_open());
        assert_eq!(LiveObjects::now().images - before.images, 2 * images, "freed while commands use them");
        // Opens the gate, and waits for the queue.
        drop(gate);
        retry_until_done(|| exchange.initialize());
        exchange.close().unwrap();
        drop(commands);
        assert_eq!(LiveObjects::now(), before, "handed over by the engine: {again}");
    }
}

/// `initialize` does not touch slots that an open hand-over recovers: once they are recovered, the
/// other side writes them.
pub(crate) fn slots_are_not_revived_during_an_open_hand_over(device: &ExportDevice, compute: &Compute) {
    let before = LiveObjects::now();
    let commands = Commands::new(device);
    let (mut writer, mut reader) = latest(compute);
    reader.initialize().unwrap();
    let publish = |writer: &mut LatestWriter<Heights>| {
        writer.begin().unwrap().publish().unwrap().wait(Rig::LONG).unwrap();
    };
    publish(&mut writer);
    drop(reader.newest().unwrap().unwrap().lend().unwrap());
    assert_eq!(reader.retired(), 1);
    let raw = commands.begin();
    // SAFETY: recording, of the right family, submitted once below.
    let turn = unsafe { reader.record_initial(raw) }.unwrap();
    commands.end();
    reader.initialize().unwrap_err();
    assert_eq!(reader.retired(), 1);
    let (infos, signals) = ([vk::CommandBufferSubmitInfo::default().command_buffer(raw)], [turn.parts().signal()]);
    let batch = vk::SubmitInfo2::default().command_buffer_infos(&infos).signal_semaphore_infos(&signals);
    // SAFETY: the commands live until the wait below has ended.
    unsafe { device.queue().submit(&[batch], vk::Fence::null()) }.unwrap();
    // SAFETY: just submitted.
    unsafe { turn.submitted() }.wait(Rig::LONG).unwrap();
    assert_eq!(reader.retired(), 0);
    // The same applies beside a lent turn, whose timeline value comes first.
    publish(&mut writer);
    drop(reader.newest().unwrap().unwrap().lend().unwrap());
    publish(&mut writer);
    let lent = reader.newest().unwrap().unwrap().lend().unwrap();
    let retired = reader.retired();
    let error = reader.initialize().unwrap_err();
    assert!(matches!(error, Error::OutOfOrder { .. }), "{error}");
    assert_eq!(reader.retired(), retired);
    // SAFETY: nothing was submitted.
    unsafe { lent.not_submitted() };
    reader.initialize().unwrap();
    assert_eq!(reader.retired(), 0);
    publish(&mut writer);
    reader.newest().unwrap().unwrap().read_back(Rig::LONG).unwrap();
    writer.close(reader).unwrap();
    assert_eq!(LiveObjects::now(), before);
}

/// The lock of an engine that submits nothing beside the bridge.
struct Unlocked;

impl QueueLock for Unlocked {
    fn with(&self, _: vk::Queue, f: &mut dyn FnMut()) {
        f();
    }
}

/// On a device where the constructor itself hands new images over.
pub(crate) fn no_exchange_is_left_by_a_refused_hand_over(engine: &Engine) {
    let mut info = engine.info();
    info.queue_lock = Some(Arc::new(Unlocked));
    // SAFETY: the engine's own handles, which live forever.
    let device = unsafe { ExportDevice::adopt(info) }.unwrap();
    let compute = Compute::new(&device, Backend::Host).unwrap();
    the_commands_for_other_images_are_counted(&device, &compute);
    let before = LiveObjects::now();
    while_refused(|| Exchange::latest(&compute, &LatestInfo::default(), spec()).map(drop)).unwrap_err();
    while_refused(|| Exchange::new(&compute, &ExchangeInfo::default(), spec()).map(drop)).unwrap_err();
    assert_eq!(LiveObjects::now(), before);
    // Images that a submission may still use are kept.
    let info = ExchangeInfo::default();
    let error = while_late(|| Exchange::new(&compute, &info, spec()).map(drop)).unwrap_err();
    assert!(matches!(error, Error::Vulkan(vk_export::Error::Unfinished { .. })), "{error}");
    let now = LiveObjects::now();
    assert_eq!(now.leaked_images, before.leaked_images + info.slots);
    assert_eq!(now.leaked_command_pools, before.leaked_command_pools + 1);
    assert!(now.to_string().ends_with(" command pools leaked on purpose"), "{now}");
}

/// The first hand-over of replaced images, which may still run at the end.
fn the_commands_for_other_images_are_counted(device: &ExportDevice, compute: &Compute) {
    let (before, pools) = (LiveObjects::now(), command_pools(device));
    let mut exchange = in_step_within(compute, ROOMY);
    let slots = exchange.slots();
    exchange.resize([32, 32]).unwrap();
    exchange.begin().unwrap().finish().unwrap().read_back(Rig::LONG).unwrap();
    exchange.begin().unwrap().skip().unwrap();
    assert_eq!(command_pools(device), pools, "freed once they have run");
    let gate = Gate::new(device);
    gate.hold_queue(device, QueueKind::Graphics);
    exchange.resize([64, 64]).unwrap();
    assert_eq!(command_pools(device), pools + 1);
    let error = exchange.close().unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    let now = LiveObjects::now();
    assert_eq!(now.leaked_images, before.leaked_images + 2 * slots);
    assert_eq!(now.leaked_command_pools, before.leaked_command_pools + 1);
}
