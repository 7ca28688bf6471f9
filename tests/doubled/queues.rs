//! Queues that the double adds to the one of the software driver.

use std::time::Duration;

use bridge::ash::{self, vk};
use bridge::{Compute, Exchange, ExchangeInfo, ExportDevice, QueueKind};
use bridge_tests::{Engine, Filler, Readback, Rig, assert_silent};
use driver_double::Double;

use crate::{LEN, SIZE, words};

/// Returns a double with these queues; see `main.rs`.
fn double(name: &str, queues: &str) -> Option<Double> {
    crate::double_in(|| Double::in_child_with_queues(name, queues))
}

fn timeline(device: &ash::Device) -> vk::Semaphore {
    let mut kind = vk::SemaphoreTypeCreateInfo::default().semaphore_type(vk::SemaphoreType::TIMELINE);
    let info = vk::SemaphoreCreateInfo::default().push_next(&mut kind);
    // SAFETY: the device has the feature.
    unsafe { device.create_semaphore(&info, None) }.unwrap()
}

fn info(semaphore: vk::Semaphore, value: u64) -> vk::SemaphoreSubmitInfo<'static> {
    let stages = vk::PipelineStageFlags2::ALL_COMMANDS;
    vk::SemaphoreSubmitInfo::default().semaphore(semaphore).value(value).stage_mask(stages)
}

/// A semaphore and a value, which is 0 for a binary semaphore.
type Point = (vk::Semaphore, u64);

fn submit(device: &ash::Device, queue: vk::Queue, waits: &[Point], signals: &[Point]) {
    let [waits, signals] = [waits, signals].map(|all| all.iter().map(|all| info(all.0, all.1)).collect::<Vec<_>>());
    let batch = vk::SubmitInfo2::default().wait_semaphore_infos(&waits).signal_semaphore_infos(&signals);
    // SAFETY: the queue and the semaphores are of this device, and used by this thread alone.
    unsafe { device.queue_submit2(queue, &[batch], vk::Fence::null()) }.unwrap();
}

/// [`submit`] with `vkQueueSubmit`, of one wait and one signal.
fn submit_old(device: &ash::Device, queue: vk::Queue, wait: Point, signal: Point) {
    let (waits, signals) = ([wait.0], [signal.0]);
    let (waited, signaled) = ([wait.1], [signal.1]);
    let mut values =
        vk::TimelineSemaphoreSubmitInfo::default().wait_semaphore_values(&waited).signal_semaphore_values(&signaled);
    let batch = vk::SubmitInfo::default()
        .wait_semaphores(&waits)
        .wait_dst_stage_mask(&[vk::PipelineStageFlags::ALL_COMMANDS])
        .signal_semaphores(&signals)
        .push_next(&mut values);
    // SAFETY: as in `submit`.
    unsafe { device.queue_submit(queue, &[batch], vk::Fence::null()) }.unwrap();
}

fn wait(device: &ash::Device, (semaphore, value): Point) {
    let (semaphores, values) = ([semaphore], [value]);
    let info = vk::SemaphoreWaitInfo::default().semaphores(&semaphores).values(&values);
    // SAFETY: a timeline of this device.
    unsafe { device.wait_semaphores(&info, Rig::LONG.as_nanos() as u64) }.unwrap();
}

/// Each queue waits for signals that the other one submits later.
fn ping_pong(device: &ash::Device, [first, second]: [vk::Queue; 2]) {
    let [points, ends] = [(); 2].map(|()| timeline(device));
    let binary = vk::SemaphoreCreateInfo::default();
    // SAFETY: a plain semaphore.
    let binary = unsafe { device.create_semaphore(&binary, None) }.unwrap();
    for round in 0..50 {
        let at = 3 * round;
        submit(device, first, &[(points, at + 2)], &[(points, at + 3)]);
        submit_old(device, second, (points, at + 1), (points, at + 2));
        submit(device, second, &[(points, at + 3)], &[(binary, 0)]);
        submit(device, first, &[(binary, 0)], &[(ends, round + 1)]);
        assert_eq!(value(device, points), at, "nothing has started it");
        let start = vk::SemaphoreSignalInfo::default().semaphore(points).value(at + 1);
        // SAFETY: a timeline of this device; the value rises.
        unsafe { device.signal_semaphore(&start) }.unwrap();
        wait(device, (ends, round + 1));
    }
    // SAFETY: no other thread uses the device.
    unsafe { device.device_wait_idle() }.unwrap();
    for semaphore in [points, ends, binary] {
        // SAFETY: created above; the device is idle.
        unsafe { device.destroy_semaphore(semaphore, None) };
    }
}

fn value(device: &ash::Device, timeline: vk::Semaphore) -> u64 {
    // SAFETY: a timeline of this device.
    unsafe { device.get_semaphore_counter_value(timeline) }.unwrap()
}

/// Both queues of an engine's device are of one family. A submission without batches signals its
/// fence.
#[test]
fn a_signal_may_be_submitted_after_its_wait_on_another_queue() {
    let Some(double) = double("queues::a_signal_may_be_submitted_after_its_wait_on_another_queue", "2") else { return };
    let engine = Engine::new(None);
    // SAFETY: the engine's own handles, which outlive the function.
    let device = unsafe { ExportDevice::adopt(engine.info()) }.unwrap();
    let raw = device.as_raw();
    // SAFETY: the engine has created both.
    let queues = [0, 1].map(|index| unsafe { raw.get_device_queue(0, index) });
    assert!(queues[0] != queues[1] && queues[1] == engine.second_queue());
    ping_pong(raw, queues);
    let fence = vk::FenceCreateInfo::default();
    // SAFETY: a plain fence.
    let fence = unsafe { raw.create_fence(&fence, None) }.unwrap();
    for queue in queues {
        // SAFETY: this thread alone uses the queue and the fence.
        unsafe { raw.queue_submit2(queue, &[], fence) }.unwrap();
        // SAFETY: as above.
        unsafe { raw.queue_wait_idle(queue) }.unwrap();
        // SAFETY: as above.
        assert!(unsafe { raw.get_fence_status(fence) }.unwrap());
        // SAFETY: no submission uses it any more.
        unsafe { raw.reset_fences(&[fence]) }.unwrap();
    }
    // SAFETY: as above.
    unsafe { raw.destroy_fence(fence, None) };
    drop(device);
    drop(engine);
    assert!(double.findings_at_exit().is_empty());
}

/// The second family only copies. Its queue copies what CUDA has written.
#[test]
fn a_family_that_only_copies_has_a_queue() {
    let Some(double) = double("queues::a_family_that_only_copies_has_a_queue", "1,1") else { return };
    let rig = Rig::open();
    let device = rig.device();
    let queue = |kind| device.queue_of(kind).unwrap();
    let [draws, copies] = [QueueKind::Graphics, QueueKind::Transfer].map(queue);
    assert_eq!([draws.family(), copies.family()], [0, 1]);
    let mut counts = device.physical().queue_families.iter().map(|family| (family.queue_count, family.queue_flags));
    assert_eq!(counts.next_back(), Some((1, vk::QueueFlags::TRANSFER)));
    ping_pong(device.as_raw(), [draws, copies].map(|queue| queue.with(|queue| queue).unwrap()));

    let compute = Compute::new(device, bridge::Backend::Cuda).unwrap();
    let info = ExchangeInfo { name: "copied", queue: QueueKind::Transfer, timeout: Rig::LONG, ..Default::default() };
    let mut exchange = Exchange::new(&compute, &info, words()).unwrap();
    let (filler, readback) = (Filler::new(&compute), Readback::on(device, SIZE, QueueKind::Transfer));
    for frame in 0..10 {
        let mut turn = exchange.begin().unwrap();
        filler.fill_after(&mut turn, frame, Duration::ZERO);
        let turn = turn.finish().unwrap();
        let source = (turn.resources().as_raw(), SIZE);
        assert_eq!(readback.run(turn, &[source]), Filler::pattern(LEN, frame));
    }
    exchange.close().unwrap();
    drop((compute, filler, readback));
    let findings = double.findings_at_exit();
    assert!(findings.is_empty(), "{findings:#?}");
    assert_silent(device);
}

/// A command buffer for one family is submitted to a queue of another.
#[test]
fn commands_for_another_family_are_found() {
    let Some(double) = double("queues::commands_for_another_family_are_found", "1,1") else { return };
    let rig = Rig::open();
    rig.allow(&["VUID-vkQueueSubmit2-commandBuffer-03878"]);
    let raw = rig.device().as_raw();
    let info = vk::CommandPoolCreateInfo::default().queue_family_index(0);
    // SAFETY: the device has the family.
    let pool = unsafe { raw.create_command_pool(&info, None) }.unwrap();
    let info = vk::CommandBufferAllocateInfo::default().command_pool(pool).command_buffer_count(1);
    // SAFETY: the pool was created above.
    let commands = unsafe { raw.allocate_command_buffers(&info) }.unwrap()[0];
    // SAFETY: a new command buffer.
    unsafe { raw.begin_command_buffer(commands, &vk::CommandBufferBeginInfo::default()) }.unwrap();
    // SAFETY: it is recording.
    unsafe { raw.end_command_buffer(commands) }.unwrap();
    for (kind, found) in [(QueueKind::Graphics, 0), (QueueKind::Transfer, 1)] {
        let commands = [vk::CommandBufferSubmitInfo::default().command_buffer(commands)];
        let batch = vk::SubmitInfo2::default().command_buffer_infos(&commands);
        rig.device()
            .queue_of(kind)
            .unwrap()
            .with(|queue| {
                // SAFETY: an empty command buffer, which is not pending; for the second queue, this is
                // the fault.
                unsafe { raw.queue_submit2(queue, &[batch], vk::Fence::null()) }.unwrap();
                // SAFETY: the queue is locked.
                unsafe { raw.queue_wait_idle(queue) }.unwrap();
            })
            .unwrap();
        let findings = double.findings();
        assert_eq!(findings.len(), found, "{findings:?}");
        assert!(findings.iter().all(|finding| finding.kind == "wrong-family"), "{findings:?}");
    }
    // SAFETY: nothing is pending.
    unsafe { raw.destroy_command_pool(pool, None) };
}
