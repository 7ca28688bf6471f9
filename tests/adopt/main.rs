//! Adoption of an engine's own Vulkan: its instance, its device, its queue and its submissions,
//! none of which are destroyed. A single test, see `Rig`.
#![allow(unsafe_code, clippy::unwrap_used)] // The engine.

mod engine_only;
mod images;
mod panics;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bridge::ash::vk;
use bridge::vk_export::{EnabledFeatures, Error, ExportDevice, MINIMUM_API_VERSION, QueueLock};
use bridge::{Backend, BufferAccess, BufferSpec, Exchange, ExchangeInfo, SubmitParts};
use bridge_tests::{Engine, Filler, Gate, Readback, Rig, case_on};

use images::new_images_wait_for_the_engine;

#[test]
fn an_engine_keeps_its_own() {
    features_missing_on_an_adopted_device_are_reported();
    submissions_are_made_under_the_engines_lock();
    a_lock_that_does_not_call_its_closure_is_an_error();
    engine_only::a_lock_for_submissions_that_are_never_made_is_refused();
    panics::a_panic_of_a_closure_propagates();
    panics::a_panic_that_the_lock_swallows_is_an_error();
    for backend in [Backend::Host, Backend::Cuda] {
        new_images_wait_for_the_engine(backend);
        engine_only::nothing_is_submitted_without_the_engine(backend);
        for place in [panics::Place::Before, panics::Place::After] {
            panics::frames_continue(backend, place);
        }
        for legacy in [false, true] {
            frames_through_the_engines_own_submissions(backend, legacy);
        }
    }
}

fn features_missing_on_an_adopted_device_are_reported() {
    let engine = Engine::new(None);
    let mut info = engine.info();
    info.device_extensions = &[];
    info.features = EnabledFeatures::default();
    // SAFETY: the engine's own handles.
    let error = unsafe { ExportDevice::adopt(info) }.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("timelineSemaphore") && text.contains("synchronization2"), "{text}");
    let mut info = engine.info();
    info.api_version = vk::API_VERSION_1_1;
    // SAFETY: as above.
    let error = unsafe { ExportDevice::adopt(info) }.unwrap_err();
    assert!(MINIMUM_API_VERSION == vk::API_VERSION_1_2 && error.to_string().contains("Vulkan 1.2 (it has 1.1)"));
    let mut info = engine.info();
    info.queue_family = 1000;
    // SAFETY: as above; the wrong family is refused.
    assert!(matches!(unsafe { ExportDevice::adopt(info) }, Err(Error::InvalidArgument { .. })));
    // Without the export extensions, the device supports the CPU backend, and reports what is
    // missing for CUDA.
    let mut info = engine.info();
    info.device_extensions = &[];
    // SAFETY: as above.
    let device = unsafe { ExportDevice::adopt(info) }.unwrap();
    assert_eq!(device.missing_for_export().len(), 2);
}

fn frames_through_the_engines_own_submissions(backend: Backend, legacy: bool) {
    const LEN: usize = 1024;
    let engine = Engine::new(None);
    {
        // SAFETY: the engine's own handles, which outlive the block.
        let device = unsafe { ExportDevice::adopt(engine.info()) }.unwrap();
        let Some(compute) = case_on(&device, backend, "frames_through_the_engines_own_submissions") else { return };
        let spec = BufferSpec::<u32>::new(LEN, BufferAccess::TRANSFER_READ | BufferAccess::VERTEX_INPUT);
        let mut exchange = Exchange::new(
            &compute,
            &ExchangeInfo { name: "engine", slots: 2, timeout: Rig::LONG, ..Default::default() },
            spec,
        )
        .unwrap();
        let (filler, readback) = (Filler::new(&compute), Readback::new(&device, 4 * LEN as u64));
        for frame in 0..6u32 {
            let gate = Gate::on(&compute);
            let mut turn = exchange.begin().unwrap();
            gate.hold(&mut turn);
            filler.fill(&mut turn, frame * 10);
            let turn = turn.finish().unwrap();
            let commands = readback.record(&turn, &[(turn.resources().as_raw(), 4 * LEN as u64)]);
            let turn = turn.lend().unwrap();
            submit(&engine, device.queue().with(|queue| queue).unwrap(), commands, &turn.parts(), legacy, true);
            // SAFETY: the parts went into the submission above, unchanged.
            let rendered = unsafe { turn.submitted() };
            assert!(!rendered.is_reached().unwrap(), "the engine's submission did not wait");
            gate.open();
            rendered.wait(Rig::LONG).unwrap();
            assert_eq!(readback.words(), Filler::pattern(LEN, frame * 10));
        }
        // Negative control: an engine that omits the wait reads the previous contents. The slot is
        // the less recently used of the two, with frame 4 in it.
        let gate = Gate::on(&compute);
        let mut turn = exchange.begin().unwrap();
        gate.hold(&mut turn);
        filler.fill(&mut turn, 1000);
        let turn = turn.finish().unwrap();
        let computed = turn.computed();
        let commands = readback.record(&turn, &[(turn.resources().as_raw(), 4 * LEN as u64)]);
        let turn = turn.lend().unwrap();
        submit(&engine, device.queue().with(|queue| queue).unwrap(), commands, &turn.parts(), legacy, false);
        // SAFETY: it was submitted, although without its wait.
        unsafe { turn.submitted() }.wait(Rig::LONG).unwrap();
        assert_eq!(readback.words(), Filler::pattern(LEN, 40), "without the wait the engine has to read stale data");
        gate.open();
        computed.wait(Rig::LONG).unwrap();
    }
    // The engine's device still works after the bridge is gone.
    // SAFETY: alive until `engine` drops.
    unsafe { engine.device().device_wait_idle() }.unwrap();
}

/// An engine's own mutex, with a count of how often it was locked.
#[derive(Default)]
struct EngineLock {
    mutex: Mutex<()>,
    locked: AtomicUsize,
}

impl QueueLock for EngineLock {
    fn with(&self, _: vk::Queue, f: &mut dyn FnMut()) {
        let _guard = self.mutex.lock().unwrap();
        self.locked.fetch_add(1, Ordering::SeqCst);
        f();
    }
}

fn submissions_are_made_under_the_engines_lock() {
    let (engine, lock) = (Engine::new(None), Arc::new(EngineLock::default()));
    let mut info = engine.info();
    info.queue_lock = Some(lock.clone());
    // SAFETY: the engine's own handles.
    let device = unsafe { ExportDevice::adopt(info) }.unwrap();
    assert!(device.queues_are_synchronized());
    let held = device.queue().with(|_| lock.mutex.try_lock().is_err()).unwrap();
    assert!(held, "the engine's lock is held inside");
    // SAFETY: nothing is recorded.
    unsafe { device.run_once(device.queue(), "nothing", Rig::LONG, |_| {}) }.unwrap();
    assert_eq!(lock.locked.load(Ordering::SeqCst), 2);
    // Without the engine's lock, nothing is submitted unless requested. SAFETY: as above.
    let plain = unsafe { ExportDevice::adopt(engine.info()) }.unwrap();
    assert!(!plain.queues_are_synchronized());
}

struct NoLock;

impl QueueLock for NoLock {
    fn with(&self, _: vk::Queue, _: &mut dyn FnMut()) {}
}

fn a_lock_that_does_not_call_its_closure_is_an_error() {
    let engine = Engine::new(None);
    let mut info = engine.info();
    info.queue_lock = Some(Arc::new(NoLock));
    // SAFETY: the engine's own handles.
    let device = unsafe { ExportDevice::adopt(info) }.unwrap();
    // SAFETY: nothing is recorded, and nothing is submitted.
    let error = unsafe { device.run_once(device.queue(), "nothing", Rig::LONG, |_| {}) }.unwrap_err();
    assert!(error.to_string().contains("without calling its closure"), "{error}");
}

/// Makes the engine's own submission with the lent parts, with the wait if `waits_for_it`.
fn submit(
    engine: &Engine,
    queue: vk::Queue,
    commands: vk::CommandBuffer,
    parts: &SubmitParts,
    legacy: bool,
    waits_for_it: bool,
) {
    let count = usize::from(waits_for_it);
    if legacy {
        let parts = parts.legacy();
        let (commands, signals, values) = ([commands], [parts.signal_semaphore()], [parts.signal_value()]);
        let mut timeline = vk::TimelineSemaphoreSubmitInfo::default()
            .wait_semaphore_values(&parts.wait_values()[..count])
            .signal_semaphore_values(&values);
        let batch = vk::SubmitInfo::default()
            .command_buffers(&commands)
            .wait_semaphores(&parts.wait_semaphores()[..count])
            .wait_dst_stage_mask(&parts.wait_stages()[..count])
            .signal_semaphores(&signals)
            .push_next(&mut timeline);
        // SAFETY: the engine's own submission, which the caller waits for. The memory is plain
        // words.
        unsafe { engine.device().queue_submit(queue, &[batch], vk::Fence::null()) }.unwrap();
    } else {
        let infos = [vk::CommandBufferSubmitInfo::default().command_buffer(commands)];
        let signals = [parts.signal()];
        let batch = vk::SubmitInfo2::default()
            .command_buffer_infos(&infos)
            .wait_semaphore_infos(&parts.waits()[..count])
            .signal_semaphore_infos(&signals);
        // SAFETY: as above.
        unsafe { engine.device().queue_submit2(queue, &[batch], vk::Fence::null()) }.unwrap();
    }
}
