//! Vulkan functions that leave out waits on demand, as if the bridge had forgotten them.
#![allow(unsafe_code, clippy::unwrap_used)] // Replacements of Vulkan functions.

use std::cell::Cell;
use std::ffi::{CStr, c_void};
use std::sync::OnceLock;
use std::time::Duration;

use bridge::ash::vk;
use bridge::{ExportDevice, QueueKind};
use bridge_tests::Gate;

use crate::planted::Planted;

static SUBMIT: OnceLock<vk::PFN_vkQueueSubmit2> = OnceLock::new();
static WAIT: OnceLock<vk::PFN_vkWaitSemaphores> = OnceLock::new();
static VALUE: OnceLock<vk::PFN_vkGetSemaphoreCounterValue> = OnceLock::new();

thread_local! {
    /// The semaphore that this thread did not wait for, and the value.
    static PASSED: Cell<(vk::Semaphore, u64)> = const { Cell::new((vk::Semaphore::null(), 0)) };
}

/// How long Vulkan's queue is held for each frame that the thread does not wait for.
const HELD: Duration = Duration::from_millis(5);

/// The thread of the CPU backend.
const HOST_THREAD: &str = "bridge-host";

pub(crate) fn hook(name: &CStr, real: *const c_void) -> *const c_void {
    match name.to_bytes() {
        b"vkQueueSubmit2" => {
            // SAFETY: the function of that name has this type.
            let real = unsafe { std::mem::transmute::<*const c_void, vk::PFN_vkQueueSubmit2>(real) };
            SUBMIT.get_or_init(|| real);
            submit as *const c_void
        }
        b"vkWaitSemaphores" => {
            // SAFETY: as above.
            let real = unsafe { std::mem::transmute::<*const c_void, vk::PFN_vkWaitSemaphores>(real) };
            WAIT.get_or_init(|| real);
            wait as *const c_void
        }
        b"vkGetSemaphoreCounterValue" => {
            // SAFETY: as above.
            let real = unsafe { std::mem::transmute::<*const c_void, vk::PFN_vkGetSemaphoreCounterValue>(real) };
            VALUE.get_or_init(|| real);
            value as *const c_void
        }
        _ => real,
    }
}

/// Holds the queue for a while if the thread of the CPU backend does not wait for the next frame,
/// so that the frame ends after the closure.
pub(crate) fn hold_queue(device: &ExportDevice) {
    if Planted::ThreadDoesNotWait.is_now() {
        let gate = Gate::new(device);
        gate.hold_queue(device, QueueKind::Graphics);
        std::thread::spawn(move || {
            std::thread::sleep(HELD);
            drop(gate);
        });
    }
}

unsafe extern "system" fn submit(
    queue: vk::Queue,
    count: u32,
    infos: *const vk::SubmitInfo2<'_>,
    fence: vk::Fence,
) -> vk::Result {
    let real = SUBMIT.get().unwrap();
    if !Planted::FrameDoesNotWait.is_now() || count == 0 {
        // SAFETY: forwarded to the real function.
        return unsafe { real(queue, count, infos, fence) };
    }
    // SAFETY: VUID-vkQueueSubmit2-pSubmits-parameter: `count` structures.
    let mut infos = unsafe { std::slice::from_raw_parts(infos, count as usize) }.to_vec();
    infos.iter_mut().for_each(|info| info.wait_semaphore_info_count = 0);
    // SAFETY: as above, without the waits.
    unsafe { real(queue, count, infos.as_ptr(), fence) }
}

unsafe extern "system" fn wait(device: vk::Device, info: *const vk::SemaphoreWaitInfo<'_>, timeout: u64) -> vk::Result {
    if Planted::ThreadDoesNotWait.is_now() && std::thread::current().name() == Some(HOST_THREAD) {
        // SAFETY: VUID-vkWaitSemaphores-pWaitInfo-parameter: a valid structure.
        let info = unsafe { &*info };
        // SAFETY: VUID-VkSemaphoreWaitInfo-pSemaphores-parameter; the bridge waits for one
        // semaphore.
        let semaphore = unsafe { *info.p_semaphores };
        // SAFETY: VUID-VkSemaphoreWaitInfo-pValues-parameter, as above.
        let value = unsafe { *info.p_values };
        PASSED.set((semaphore, value));
        return vk::Result::SUCCESS;
    }
    let real = WAIT.get().unwrap();
    // SAFETY: forwarded to the real function.
    unsafe { real(device, info, timeout) }
}

/// Returns at least the value that was passed, because the bridge checks it after the wait.
unsafe extern "system" fn value(device: vk::Device, semaphore: vk::Semaphore, reached: *mut u64) -> vk::Result {
    let real = VALUE.get().unwrap();
    // SAFETY: forwarded to the real function.
    let result = unsafe { real(device, semaphore, reached) };
    let (passed, least) = PASSED.get();
    if passed == semaphore && Planted::ThreadDoesNotWait.is_now() {
        // SAFETY: VUID-vkGetSemaphoreCounterValue-pValue-parameter: a valid pointer.
        let reached = unsafe { &mut *reached };
        *reached = least.max(*reached);
    }
    result
}
