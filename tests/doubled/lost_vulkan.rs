//! A Vulkan device that is lost while CUDA waits for it.

use std::ffi::{CStr, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bridge::ash::vk;
use bridge::{Backend, Compute, Error, Exchange, ExchangeInfo, ExportDevice, LiveObjects};
use bridge_tests::{Engine, Rig, assert_silent};
use driver_double::Double;

use crate::{Words, double, info, words};

static SUBMIT: OnceLock<vk::PFN_vkQueueSubmit2> = OnceLock::new();
static WAIT: OnceLock<vk::PFN_vkWaitSemaphores> = OnceLock::new();

/// While this is set, submissions are accepted but do not run.
static STOPS: AtomicBool = AtomicBool::new(false);
/// While this is set, waits report the loss; counters keep their values.
static LOST: AtomicBool = AtomicBool::new(false);

unsafe extern "system" fn submit(
    queue: vk::Queue,
    count: u32,
    batches: *const vk::SubmitInfo2<'_>,
    fence: vk::Fence,
) -> vk::Result {
    if STOPS.load(Ordering::SeqCst) {
        return vk::Result::SUCCESS;
    }
    // SAFETY: forwarded to the real function.
    unsafe { SUBMIT.get().unwrap()(queue, count, batches, fence) }
}

unsafe extern "system" fn wait(device: vk::Device, info: *const vk::SemaphoreWaitInfo<'_>, limit: u64) -> vk::Result {
    if LOST.load(Ordering::SeqCst) {
        return vk::Result::ERROR_DEVICE_LOST;
    }
    // SAFETY: forwarded to the real function.
    unsafe { WAIT.get().unwrap()(device, info, limit) }
}

fn hook(name: &CStr, real: *const c_void) -> *const c_void {
    match name.to_bytes() {
        b"vkQueueSubmit2" => {
            // SAFETY: the function of that name has this type.
            let _ = SUBMIT.set(unsafe { std::mem::transmute::<*const c_void, vk::PFN_vkQueueSubmit2>(real) });
            submit as *const c_void
        }
        b"vkWaitSemaphores" => {
            // SAFETY: as above.
            let _ = WAIT.set(unsafe { std::mem::transmute::<*const c_void, vk::PFN_vkWaitSemaphores>(real) });
            wait as *const c_void
        }
        _ => real,
    }
}

/// Creates an exchange whose next frame waits, in CUDA's stream, for a frame of a lost device, and
/// an exchange without frames, which gives up at once.
pub(crate) fn with_waiting(name: &str, prepare: fn(), test: impl FnOnce(Double, [Exchange<Words>; 2])) {
    let Some(double) = double(name) else { return };
    prepare();
    // Never destroyed, like the device of an engine.
    let engine = Box::leak(Box::new(Engine::new(Some(hook))));
    // SAFETY: the engine's own handles, which live forever.
    let device = unsafe { ExportDevice::adopt(engine.info()) }.unwrap();
    let compute = Compute::new(&device, Backend::Cuda).unwrap();
    let mut waiting = Exchange::new(&compute, &info(1), words()).unwrap();
    let idle = Exchange::new(&compute, &ExchangeInfo { timeout: Duration::ZERO, ..info(1) }, words()).unwrap();
    STOPS.store(true, Ordering::SeqCst);
    // SAFETY: no commands.
    unsafe { waiting.begin().unwrap().finish().unwrap().submit(&[]) }.unwrap();
    drop(waiting.begin().unwrap());
    assert!(!compute.is_idle().unwrap(), "the stream waits");
    LOST.store(true, Ordering::SeqCst);
    test(double, [waiting, idle]);
    engine.assert_silent();
}

/// CUDA has no memory for the first signal that is made in place of Vulkan.
pub(crate) fn a_release_is_tried_again(name: &str) {
    /// `CUDA_ERROR_OUT_OF_MEMORY`
    const OUT_OF_MEMORY: u32 = 2;
    with_waiting(
        name,
        || {},
        |double, [waiting, idle]| {
            double.fail_named("cuStreamCreate", 1, OUT_OF_MEMORY);
            waiting.close().unwrap();
            assert!(double.disarm().is_some(), "no stream is created");
            idle.close().unwrap();
            let now = LiveObjects::now();
            assert!(now.is_empty(), "{now}");
        },
    );
}

/// The longest wait for what must not block.
pub(crate) const LIMIT: Duration = Rig::LONG;

/// Two Vulkan devices share a CUDA context, as those of two engines in a process do. A frame of one
/// device, slow or lost, keeps nothing in the other's queue waiting.
#[test]
fn a_wait_covers_one_vulkan_device() {
    let Some(double) = double("lost_vulkan::a_wait_covers_one_vulkan_device") else { return };
    let own = [(), ()].map(|()| Rig::open_own());
    let [slow, other] = own.each_ref().map(|device| Compute::new(device, Backend::Cuda).unwrap());
    let [mut first, second] = [&slow, &other].map(|side| Exchange::new(side, &info(1), words()).unwrap());
    double.hold_work();
    let turn = first.begin().unwrap().finish().unwrap();
    let error = slow.wait_for_signals(Duration::from_millis(1)).unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "the control: {error}");
    other.wait_for_signals(Duration::from_millis(1)).expect("it has no frame");
    double.release_work();
    slow.wait_for_signals(LIMIT).unwrap();
    turn.skip();
    first.close().unwrap();
    second.close().unwrap();
    own.iter().for_each(assert_silent);
}
