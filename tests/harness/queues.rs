//! A second queue of the engine's family, and the queues that were submitted to.
//!
//! Software drivers have one queue per family. The second one then is a handle of its own, whose
//! submissions go to the first.
#![allow(unsafe_code)] // A replaced Vulkan function.

use std::ffi::{CStr, c_void};
use std::sync::{Mutex, PoisonError};

use bridge::ash::vk;
use bridge::ash::vk::Handle as _;

/// The real function. It has another address once all instances are destroyed and the layer is
/// loaded again, so each engine sets it.
static REAL: Mutex<Option<vk::PFN_vkQueueSubmit2>> = Mutex::new(None);
static SUBMITTED: Mutex<Vec<vk::Queue>> = Mutex::new(Vec::new());

/// Marks the handle of a queue that the driver does not have. Queue handles are aligned pointers.
const OTHER: u64 = 1;

/// The hook of an engine with a [`second_queue`](crate::Engine::second_queue), whose submissions are
/// noted.
pub(crate) fn note_submissions(name: &CStr, real: *const c_void) -> *const c_void {
    if name != c"vkQueueSubmit2" {
        return real;
    }
    // SAFETY: the function of that name has this type.
    let real = unsafe { std::mem::transmute::<*const c_void, vk::PFN_vkQueueSubmit2>(real) };
    *REAL.lock().unwrap_or_else(PoisonError::into_inner) = Some(real);
    submit as *const c_void
}

/// Returns the queue of each submission of engines with a second queue since the last call, in
/// order.
pub fn take_submissions() -> Vec<vk::Queue> {
    std::mem::take(&mut *SUBMITTED.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Returns a second handle of a queue, which only the hook's function accepts.
pub(crate) fn other(queue: vk::Queue) -> vk::Queue {
    vk::Queue::from_raw(queue.as_raw() | OTHER)
}

unsafe extern "system" fn submit(
    queue: vk::Queue,
    batches: u32,
    infos: *const vk::SubmitInfo2<'_>,
    fence: vk::Fence,
) -> vk::Result {
    SUBMITTED.lock().unwrap_or_else(PoisonError::into_inner).push(queue);
    let queue = vk::Queue::from_raw(queue.as_raw() & !OTHER);
    let real = REAL.lock().unwrap_or_else(PoisonError::into_inner).unwrap();
    // SAFETY: forwarded to the real function. The engine serializes submissions to both handles.
    unsafe { real(queue, batches, infos, fence) }
}
