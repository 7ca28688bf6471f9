//! Functions of the device that fail on request.

use std::ffi::{CStr, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use bridge::ash::vk;

/// `true` if `vkQueueSubmit2` fails.
static REFUSES_SUBMISSIONS: AtomicBool = AtomicBool::new(false);
/// `true` if `vkWaitForFences` times out immediately.
static WAITS_TIME_OUT: AtomicBool = AtomicBool::new(false);

static SUBMIT: OnceLock<vk::PFN_vkQueueSubmit2> = OnceLock::new();
static WAIT: OnceLock<vk::PFN_vkWaitForFences> = OnceLock::new();

unsafe extern "system" fn submit(
    queue: vk::Queue,
    count: u32,
    batches: *const vk::SubmitInfo2<'_>,
    fence: vk::Fence,
) -> vk::Result {
    if REFUSES_SUBMISSIONS.load(Ordering::Relaxed) {
        return vk::Result::ERROR_OUT_OF_DEVICE_MEMORY;
    }
    let real = SUBMIT.get().unwrap();
    // SAFETY: the arguments are passed on unchanged.
    unsafe { real(queue, count, batches, fence) }
}

unsafe extern "system" fn wait(
    device: vk::Device,
    count: u32,
    fences: *const vk::Fence,
    all: vk::Bool32,
    limit: u64,
) -> vk::Result {
    if WAITS_TIME_OUT.load(Ordering::Relaxed) {
        return vk::Result::TIMEOUT;
    }
    let real = WAIT.get().unwrap();
    // SAFETY: the arguments are passed on unchanged.
    unsafe { real(device, count, fences, all, limit) }
}

pub(crate) fn hook(name: &CStr, real: *const c_void) -> *const c_void {
    match name.to_bytes() {
        b"vkQueueSubmit2" => {
            // SAFETY: the function of that name has this type.
            let _ = SUBMIT.set(unsafe { std::mem::transmute::<*const c_void, vk::PFN_vkQueueSubmit2>(real) });
            submit as *const c_void
        }
        b"vkWaitForFences" => {
            // SAFETY: as above.
            let _ = WAIT.set(unsafe { std::mem::transmute::<*const c_void, vk::PFN_vkWaitForFences>(real) });
            wait as *const c_void
        }
        _ => real,
    }
}

/// Calls `call` while every submission is refused.
pub(crate) fn while_refused<T>(call: impl FnOnce() -> T) -> T {
    with_fault(&REFUSES_SUBMISSIONS, call)
}

/// Calls `call` while every wait for a fence times out.
pub(crate) fn while_late<T>(call: impl FnOnce() -> T) -> T {
    with_fault(&WAITS_TIME_OUT, call)
}

fn with_fault<T>(fault: &AtomicBool, call: impl FnOnce() -> T) -> T {
    fault.store(true, Ordering::Relaxed);
    let result = call();
    fault.store(false, Ordering::Relaxed);
    result
}
