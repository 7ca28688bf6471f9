//! A device whose engine makes all submissions itself.

use std::ffi::{CStr, c_void};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bridge::ash::vk;
use bridge::vk_export::{Error, ExportDevice};
use bridge::{
    Backend, BufferAccess, BufferSpec, Compute, Exchange, ExchangeInfo, ImageAccess, ImageSpec, LatestInfo, LiveObjects,
};
use bridge_tests::{Commands, Engine, Rig, case_on};

use crate::{EngineLock, submit};

/// The function of the newest engine's device: the driver may unload that of an earlier one.
static REAL: Mutex<Option<vk::PFN_vkQueueSubmit2>> = Mutex::new(None);
/// Submissions of the engine's and of the bridge's.
static SUBMISSIONS: AtomicUsize = AtomicUsize::new(0);

unsafe extern "system" fn count(
    queue: vk::Queue,
    batches: u32,
    infos: *const vk::SubmitInfo2<'_>,
    fence: vk::Fence,
) -> vk::Result {
    SUBMISSIONS.fetch_add(1, Ordering::Relaxed);
    let real = REAL.lock().unwrap().unwrap();
    // SAFETY: forwarded to the real function.
    unsafe { real(queue, batches, infos, fence) }
}

fn hook(name: &CStr, real: *const c_void) -> *const c_void {
    if name != c"vkQueueSubmit2" {
        return real;
    }
    // SAFETY: the function of that name has this type.
    *REAL.lock().unwrap() = Some(unsafe { std::mem::transmute::<*const c_void, vk::PFN_vkQueueSubmit2>(real) });
    count as *const c_void
}

/// Calls `f` and returns its result, which must not have come from a submission.
fn without_a_submission<R>(f: impl FnOnce() -> R) -> R {
    let before = SUBMISSIONS.load(Ordering::Relaxed);
    let result = f();
    assert_eq!(SUBMISSIONS.load(Ordering::Relaxed), before, "submitted without the engine");
    result
}

/// Checks that `f` is refused, without a submission.
fn is_refused<R>(f: impl FnOnce() -> bridge::Result<R>) {
    match without_a_submission(f).map(drop) {
        Err(bridge::Error::Vulkan(error @ Error::OnlyEngineSubmits { .. })) => {
            let text = error.to_string();
            assert!(text.contains("only_engine_submits") && text.contains("record_initial"), "{text}");
        }
        other => panic!("{other:?}"),
    }
}

pub(super) fn nothing_is_submitted_without_the_engine(backend: Backend) {
    let engine = Engine::new(Some(hook));
    let mut info = engine.info();
    info.only_engine_submits = true;
    info.features.buffer_device_address = true;
    // SAFETY: the engine's own handles, which outlive the function.
    let device = unsafe { ExportDevice::adopt(info) }.unwrap();
    let Some(compute) = case_on(&device, backend, "nothing_is_submitted_without_the_engine") else { return };
    assert!(!device.queues_are_synchronized());
    is_refused(|| Ok(device.queue().with(|queue| queue)?));
    // SAFETY: nothing is recorded.
    is_refused(|| Ok(unsafe { device.run_once(device.queue(), "nothing", Rig::LONG, |_| {}) }?));
    let inline = without_a_submission(|| Compute::inline(&device, bridge::QueueKind::Graphics));
    assert!(inline.unwrap_err().to_string().contains("queue_lock"));
    let before = LiveObjects::now();
    images(&engine, &compute);
    buffers(&engine, &compute);
    newest(&compute);
    assert_eq!(LiveObjects::now(), before);
}

/// A refused hand-over can still be recorded for the engine.
fn images(engine: &Engine, compute: &Compute) {
    let device = compute.device();
    let commands = Commands::new(device);
    let spec = ImageSpec::<[u8; 4]>::new(vk::Format::R8G8B8A8_UNORM, [16, 16], ImageAccess::TRANSFER_READ);
    let info = ExchangeInfo { name: "images", slots: 2, timeout: Rig::LONG, ..Default::default() };
    let mut exchange = without_a_submission(|| Exchange::new(compute, &info, spec)).unwrap();
    is_refused(|| exchange.initialize());
    assert!(exchange.needs_initial());
    let raw = commands.begin();
    // SAFETY: it is recording, and is submitted below.
    let initial = unsafe { exchange.record_initial(raw) }.unwrap();
    commands.end();
    submit(engine, engine.info().queue, raw, &initial.parts(), false, false);
    // SAFETY: it was just submitted.
    let handed_over = unsafe { initial.submitted() };
    handed_over.wait(Rig::LONG).unwrap();
    commands.note(handed_over);
    // Both slots, so that the refusals are known to have returned them.
    for _ in 0..4 {
        is_refused(|| exchange.begin()?.finish()?.read_back(Rig::LONG));
    }
    without_a_submission(|| exchange.resize([20, 20])).unwrap();
    is_refused(|| exchange.initialize());
    without_a_submission(|| exchange.close()).unwrap();
}

/// Frames that the engine submits arrive, between others that are refused.
fn buffers(engine: &Engine, compute: &Compute) {
    let commands = Commands::new(compute.device());
    let spec = BufferSpec::<u32>::new(64, BufferAccess::TRANSFER_READ);
    let info = ExchangeInfo { name: "buffers", slots: 2, timeout: Rig::LONG, ..Default::default() };
    let mut exchange = Exchange::new(compute, &info, spec).unwrap();
    for _ in 0..3 {
        is_refused(|| exchange.begin()?.finish()?.read_back(Rig::LONG));
        // SAFETY: no commands.
        is_refused(|| unsafe { exchange.begin()?.finish()?.submit(&[]) });
        let turn = exchange.begin().unwrap().finish().unwrap();
        let recorded = commands.record(&turn, |_| {});
        let lent = turn.lend().unwrap();
        submit(engine, engine.info().queue, recorded, &lent.parts(), false, true);
        // SAFETY: the parts went into the submission above, unchanged.
        let rendered = unsafe { lent.submitted() };
        rendered.wait(Rig::LONG).unwrap();
        commands.note(rendered);
    }
    without_a_submission(|| exchange.close()).unwrap();
}

/// The hand-over of a latest exchange.
fn newest(compute: &Compute) {
    let spec = ImageSpec::<[u8; 4]>::new(vk::Format::R8G8B8A8_UNORM, [16, 16], ImageAccess::TRANSFER_READ);
    let info = LatestInfo { name: "newest", timeout: Rig::LONG, ..Default::default() };
    let (writer, mut reader) = without_a_submission(|| Exchange::latest(compute, &info, spec)).unwrap();
    is_refused(|| reader.initialize());
    without_a_submission(|| drop((writer, reader)));
}

pub(super) fn a_lock_for_submissions_that_are_never_made_is_refused() {
    let engine = Engine::new(None);
    let mut info = engine.info();
    info.only_engine_submits = true;
    info.queue_lock = Some(std::sync::Arc::<EngineLock>::default());
    // SAFETY: the engine's own handles.
    let error = unsafe { ExportDevice::adopt(info) }.unwrap_err();
    assert!(error.to_string().contains("set one of them"), "{error}");
}
