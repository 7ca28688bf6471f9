//! The functions that a program calls with a queue.
#![allow(unsafe_code)]

use std::ffi::CStr;

use ash::vk;

use super::batch::Batch;
use super::queue::Queue;
use super::registry::{queue, queue_of, queues, remove};
use crate::finding::Kind;
use crate::gate;
use crate::vulkan::families;
use crate::vulkan::underlying::underlying;

pub(in crate::vulkan) unsafe extern "system" fn get(
    device: vk::Device,
    family: u32,
    index: u32,
    queue: *mut vk::Queue,
) {
    let found = queue_of(device, family, index).map_or(vk::Queue::null(), |queue| queue.handle());
    // SAFETY: the specification: an output.
    unsafe { queue.write(found) };
}

pub(in crate::vulkan) unsafe extern "system" fn get2(
    device: vk::Device,
    info: *const vk::DeviceQueueInfo2<'_>,
    queue: *mut vk::Queue,
) {
    // SAFETY: the specification: a valid structure.
    let info = unsafe { &*info };
    // SAFETY: the same contract.
    unsafe { get(device, info.queue_family_index, info.queue_index, queue) };
}

fn enqueue(queue: &Queue, batches: Vec<Batch>, fence: vk::Fence) -> vk::Result {
    let families = batches.iter().flat_map(|batch| &batch.commands).map(|commands| families::family_of(*commands));
    for family in families.flatten().filter(|family| *family != queue.family) {
        let text = format!("commands of family {family} are submitted to a queue of family {}", queue.family);
        gate::ledger().report(Kind::WrongFamily, text);
    }
    queue.submit(batches, fence)
}

pub(in crate::vulkan) unsafe extern "system" fn submit(
    handle: vk::Queue,
    count: u32,
    infos: *const vk::SubmitInfo<'_>,
    fence: vk::Fence,
) -> vk::Result {
    let infos = match count {
        0 => &[],
        // SAFETY: the specification: an array of `count` elements.
        count => unsafe { std::slice::from_raw_parts(infos, count as usize) },
    };
    // SAFETY: the specification: valid structures.
    let batches = infos.iter().map(|info| unsafe { Batch::of(info) }).collect();
    enqueue(&queue(handle), batches, fence)
}

pub(in crate::vulkan) unsafe extern "system" fn submit2(
    handle: vk::Queue,
    count: u32,
    infos: *const vk::SubmitInfo2<'_>,
    fence: vk::Fence,
) -> vk::Result {
    let infos = match count {
        0 => &[],
        // SAFETY: the specification: an array of `count` elements.
        count => unsafe { std::slice::from_raw_parts(infos, count as usize) },
    };
    // SAFETY: the specification: valid structures.
    let batches = infos.iter().map(|info| unsafe { Batch::of2(info) }).collect();
    enqueue(&queue(handle), batches, fence)
}

pub(in crate::vulkan) unsafe extern "system" fn wait_idle(handle: vk::Queue) -> vk::Result {
    let queue = queue(handle);
    match queue.drain() {
        vk::Result::SUCCESS => {
            let underlying_queue = queue.underlying.queue();
            // SAFETY: the queue is locked. What other queues have forwarded ends without waiting
            // for anything that is forwarded later.
            unsafe { (underlying().device.fp_v1_0().queue_wait_idle)(*underlying_queue) }
        }
        other => other,
    }
}

pub(in crate::vulkan) unsafe extern "system" fn device_wait_idle(device: vk::Device) -> vk::Result {
    let Some((queues, its)) = queues(device) else { return vk::Result::ERROR_DEVICE_LOST };
    for queue in queues {
        match queue.drain() {
            vk::Result::SUCCESS => {}
            other => return other,
        }
    }
    let _locked = its.queue();
    // SAFETY: the same contract; the only queue is locked.
    unsafe { (underlying().device.fp_v1_0().device_wait_idle)(device) }
}

pub(in crate::vulkan) unsafe extern "system" fn destroy_device(
    device: vk::Device,
    allocator: *const vk::AllocationCallbacks<'_>,
) {
    remove(device);
    // SAFETY: the same contract; no thread uses the device any more.
    unsafe { (underlying().device.fp_v1_0().destroy_device)(device, allocator) };
}

/// Returns a function of an extension of the underlying driver.
fn extension<F: Copy>(device: vk::Device, name: &CStr) -> Option<F> {
    // SAFETY: a live device, and a NUL-terminated string.
    let found = unsafe { (underlying().instance.fp_v1_0().get_device_proc_addr)(device, name.as_ptr()) }?;
    // SAFETY: the callers name the type that the specification gives the function, which is a
    // function pointer.
    Some(unsafe { std::mem::transmute_copy::<unsafe extern "system" fn(), F>(&found) })
}

/// Presents on the calling thread, once everything before is forwarded.
pub(in crate::vulkan) unsafe extern "system" fn present(
    handle: vk::Queue,
    info: *const vk::PresentInfoKHR<'_>,
) -> vk::Result {
    let queue = queue(handle);
    let its = &queue.underlying;
    let Some(present) = extension::<vk::PFN_vkQueuePresentKHR>(its.device, c"vkQueuePresentKHR") else {
        return vk::Result::ERROR_DEVICE_LOST;
    };
    // SAFETY: the specification: a valid structure.
    let asked = unsafe { &*info };
    let waits = match asked.wait_semaphore_count {
        0 => &[],
        // SAFETY: the specification: an array of `count` elements.
        count => unsafe { std::slice::from_raw_parts(asked.p_wait_semaphores, count as usize) },
    };
    let batch = Batch::of_waits(waits);
    match queue.drain() {
        // SAFETY: the same contract; the queue is locked.
        vk::Result::SUCCESS => its.in_turn(&batch, |underlying_queue| unsafe { present(underlying_queue, info) }),
        other => other,
    }
}

/// Forwards on the calling thread. The underlying driver reports no sparse resources.
pub(in crate::vulkan) unsafe extern "system" fn bind_sparse(
    handle: vk::Queue,
    count: u32,
    infos: *const vk::BindSparseInfo<'_>,
    fence: vk::Fence,
) -> vk::Result {
    let queue = queue(handle);
    match queue.drain() {
        vk::Result::SUCCESS => {
            let underlying_queue = queue.underlying.queue();
            // SAFETY: the same contract; the queue is locked.
            unsafe { (underlying().device.fp_v1_0().queue_bind_sparse)(*underlying_queue, count, infos, fence) }
        }
        other => other,
    }
}

/// Queues are not the underlying driver's, so their names are not passed on.
pub(in crate::vulkan) unsafe extern "system" fn set_name(
    device: vk::Device,
    info: *const vk::DebugUtilsObjectNameInfoEXT<'_>,
) -> vk::Result {
    // SAFETY: the specification: a valid structure.
    if unsafe { (*info).object_type } == vk::ObjectType::QUEUE {
        return vk::Result::SUCCESS;
    }
    let set = extension::<vk::PFN_vkSetDebugUtilsObjectNameEXT>(device, c"vkSetDebugUtilsObjectNameEXT");
    // SAFETY: the same contract.
    set.map_or(vk::Result::SUCCESS, |set| unsafe { set(device, info) })
}

/// Labels of queues are not passed on either.
pub(in crate::vulkan) unsafe extern "system" fn label(_: vk::Queue, _: *const vk::DebugUtilsLabelEXT<'_>) {}

pub(in crate::vulkan) unsafe extern "system" fn end_label(_: vk::Queue) {}
