//! Exportable timelines: timelines of the underlying driver, which the CUDA side queries and
//! signals.
#![allow(unsafe_code)]

use ash::vk;
use ash::vk::Handle as _;

use super::chain::find;
use super::memory::hand_out;
use super::objects::Timeline;
use super::queues::binary;
use super::shared::Shared;
use super::underlying::underlying;
use super::watch;
use crate::descriptor::{self, Raw};
use crate::export::{Export, Payload};
use crate::gate;
use crate::ledger::watch::Descriptor;

pub(super) unsafe extern "system" fn create(
    device: vk::Device,
    info: *const vk::SemaphoreCreateInfo<'_>,
    allocator: *const vk::AllocationCallbacks<'_>,
    semaphore: *mut vk::Semaphore,
) -> vk::Result {
    let create = underlying().device.fp_v1_0().create_semaphore;
    // SAFETY: the specification: a valid chain.
    let export = unsafe { find::<vk::ExportSemaphoreCreateInfo<'_>>(info.cast()) };
    // SAFETY: as above.
    let kind = unsafe { find::<vk::SemaphoreTypeCreateInfo<'_>>(info.cast()) };
    let (Some(_), Some(kind)) = (export, kind) else {
        // SAFETY: the same contract.
        let result = unsafe { create(device, info, allocator, semaphore) };
        // SAFETY: as above.
        let is_timeline = kind.is_some_and(|kind| unsafe { (*kind).semaphore_type } == vk::SemaphoreType::TIMELINE);
        if result == vk::Result::SUCCESS && is_timeline {
            // SAFETY: the specification: an output, which was set.
            binary::insert_timeline(unsafe { *semaphore });
        }
        return result;
    };
    // SAFETY: as above.
    let kind = vk::SemaphoreTypeCreateInfo { p_next: std::ptr::null(), ..unsafe { *kind } };
    // SAFETY: as above.
    let plain = vk::SemaphoreCreateInfo { p_next: (&raw const kind).cast(), ..unsafe { *info } };
    let mut ledger = gate::ledger();
    let number = ledger.serial();
    let Ok(raw) = descriptor::create(number, 0) else { return vk::Result::ERROR_OUT_OF_HOST_MEMORY };
    // SAFETY: the same contract, without the structures that the underlying driver does not know.
    let result = unsafe { create(device, &plain, allocator, semaphore) };
    if result != vk::Result::SUCCESS {
        descriptor::close(raw);
        return result;
    }
    // SAFETY: the specification: an output, which was set.
    let semaphore = unsafe { *semaphore };
    binary::insert_timeline(semaphore);
    let payload = Payload::Vulkan { shared: Some(Shared { device, semaphore }), submitted: 0 };
    ledger.exports.insert(number, Export::Semaphore(payload));
    let timeline = Timeline { descriptor: Descriptor { raw, export: number } };
    ledger.vulkan.timelines.insert(semaphore.as_raw(), timeline);
    watch::start();
    vk::Result::SUCCESS
}

pub(super) unsafe extern "system" fn destroy(
    device: vk::Device,
    semaphore: vk::Semaphore,
    allocator: *const vk::AllocationCallbacks<'_>,
) {
    let mut ledger = gate::ledger();
    if let Some(Timeline { descriptor }) = ledger.vulkan.timelines.remove(&semaphore.as_raw()) {
        if let Ok(payload) = ledger.payload(descriptor.export) {
            payload.part();
        }
        ledger.close(descriptor, "an exportable timeline");
    }
    drop(ledger);
    binary::remove(semaphore);
    // SAFETY: the same contract.
    unsafe { (underlying().device.fp_v1_0().destroy_semaphore)(device, semaphore, allocator) };
}

pub(super) unsafe extern "system" fn get_fd(
    _device: vk::Device,
    info: *const vk::SemaphoreGetFdInfoKHR<'_>,
    fd: *mut Raw,
) -> vk::Result {
    // SAFETY: the specification: a valid structure.
    let semaphore = unsafe { (*info).semaphore };
    let ledger = gate::ledger();
    let exported = ledger.vulkan.timelines.get(&semaphore.as_raw()).map(|timeline| timeline.descriptor);
    // SAFETY: the specification: an output.
    unsafe { hand_out(exported, fd) }
}

/// Runs the work of streams that waited for the signal.
pub(super) unsafe extern "system" fn signal(
    device: vk::Device,
    info: *const vk::SemaphoreSignalInfo<'_>,
) -> vk::Result {
    // SAFETY: the same contract.
    let result = unsafe { (underlying().device.fp_v1_2().signal_semaphore)(device, info) };
    gate::ledger().proceed();
    gate::notify_change();
    result
}
