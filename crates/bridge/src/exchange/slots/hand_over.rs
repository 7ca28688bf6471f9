//! The commands of the first hand-over of new images.
#![allow(unsafe_code)] // Recording and submitting.

use vk_export::ash::vk;
use vk_export::{ExportDevice, Queue};

use crate::barriers::Barriers;
use crate::error::{Error, Result};

/// Returns `true` if there are images to hand over.
pub(in crate::exchange) fn is_needed(slots: &[Barriers]) -> bool {
    slots.iter().any(|slot| slot.images() > 0)
}

/// Submits the first hand-over of a new exchange's images, and waits until it has run.
pub(in crate::exchange) fn submit<'a>(
    device: &ExportDevice,
    queue: &Queue,
    exchange: &str,
    limit: std::time::Duration,
    slots: impl IntoIterator<Item = &'a Barriers>,
) -> Result<()> {
    let name = format!("{exchange}: first hand-over of images");
    // SAFETY: `run_once` records on this device, for the barriers' family, outside a render pass.
    let recorded = |commands| unsafe { record(device, slots, commands) };
    // SAFETY: only these barriers are recorded; the caller never frees their images if this fails
    // and the commands may still run.
    Ok(unsafe { device.run_once(queue, &name, limit, recorded) }?)
}

/// Returns `true` if the commands of a failed [`submit`] may still run: if the wait for their end
/// failed, but not if nothing was submitted. On a lost device nothing runs.
pub(in crate::exchange) fn may_still_run(error: &Error) -> bool {
    matches!(error, Error::Vulkan(error) if error.may_still_run())
}

/// Records the hand-over of unused images.
///
/// # Safety
/// As [`Exchange::record_initial`](crate::exchange::Exchange::record_initial).
pub(in crate::exchange) unsafe fn record<'a>(
    device: &ExportDevice,
    slots: impl IntoIterator<Item = &'a Barriers>,
    commands: vk::CommandBuffer,
) {
    for slot in slots {
        // SAFETY: upheld by the caller.
        unsafe { slot.record_initial(device, commands) };
    }
}

/// Records the hand-over of images that earlier submissions to the same queue may use. The contents
/// of the images are discarded.
///
/// # Safety
/// As [`Exchange::record_initial`](crate::exchange::Exchange::record_initial).
pub(in crate::exchange) unsafe fn record_again<'a>(
    device: &ExportDevice,
    slots: impl IntoIterator<Item = &'a Barriers>,
    commands: vk::CommandBuffer,
) {
    let access = vk::AccessFlags2::MEMORY_READ | vk::AccessFlags2::MEMORY_WRITE;
    let all = [vk::MemoryBarrier2::default()
        .src_stage_mask(vk::PipelineStageFlags2::ALL_COMMANDS)
        .src_access_mask(access)
        .dst_stage_mask(vk::PipelineStageFlags2::ALL_COMMANDS)
        .dst_access_mask(access)];
    // SAFETY: recording outside a render pass, by this function's contract; a global barrier names
    // no resources.
    unsafe { device.cmd_pipeline_barrier2(commands, &vk::DependencyInfo::default().memory_barriers(&all)) };
    // SAFETY: upheld by the caller. Every barrier is from `UNDEFINED`, after the one above.
    unsafe { record(device, slots, commands) };
}
