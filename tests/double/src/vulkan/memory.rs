//! Exportable memory: anonymous files that are mapped into this process and imported into the
//! underlying driver by host address.
#![allow(unsafe_code)]

use ash::vk;
use ash::vk::Handle as _;

use super::DEVICE;
use super::chain::find;
use super::objects::{Mapped, Memory};
use super::underlying::underlying;
use crate::descriptor::{self, Raw};
use crate::export::Export;
use crate::gate;
use crate::ledger::watch::Descriptor;

pub(super) unsafe extern "system" fn allocate(
    device: vk::Device,
    info: *const vk::MemoryAllocateInfo<'_>,
    allocator: *const vk::AllocationCallbacks<'_>,
    memory: *mut vk::DeviceMemory,
) -> vk::Result {
    let allocate = underlying().device.fp_v1_0().allocate_memory;
    // SAFETY: the specification: a valid chain.
    let export = unsafe { find::<vk::ExportMemoryAllocateInfo<'_>>(info.cast()) };
    // SAFETY: as above.
    if !export.is_some_and(|export| unsafe { (*export).handle_types }.contains(OPAQUE)) {
        // SAFETY: the same contract.
        return unsafe { allocate(device, info, allocator, memory) };
    }
    // SAFETY: as above.
    let asked = unsafe { *info };
    let size = asked.allocation_size;
    // SAFETY: as above.
    let dedicated = unsafe { find::<vk::MemoryDedicatedAllocateInfo<'_>>(info.cast()) }.is_some();
    let mut ledger = gate::ledger();
    if !ledger.vulkan.has_room(size) {
        return vk::Result::ERROR_OUT_OF_DEVICE_MEMORY;
    }
    let number = ledger.serial();
    let Ok(raw) = descriptor::create(number, size) else { return vk::Result::ERROR_OUT_OF_DEVICE_MEMORY };
    let Some(mapped) = usize::try_from(size).ok().and_then(|len| Mapped::new(raw, len)) else {
        descriptor::close(raw);
        return vk::Result::ERROR_OUT_OF_DEVICE_MEMORY;
    };
    let host = vk::ImportMemoryHostPointerInfoEXT {
        p_next: asked.p_next,
        handle_type: vk::ExternalMemoryHandleTypeFlags::HOST_ALLOCATION_EXT,
        p_host_pointer: mapped.pointer(),
        ..Default::default()
    };
    let with_host = vk::MemoryAllocateInfo { p_next: (&raw const host).cast(), ..asked };
    // SAFETY: the same contract, with one more structure; its memory lives until it is freed.
    let result = unsafe { allocate(device, &with_host, allocator, memory) };
    if result != vk::Result::SUCCESS {
        descriptor::close(raw);
        return result;
    }
    ledger.exports.insert(number, Export::Memory { device: DEVICE, size, dedicated, image: None });
    // SAFETY: the specification: an output, which was set.
    let handle = unsafe { *memory }.as_raw();
    ledger.vulkan.memories.insert(handle, Memory { descriptor: Descriptor { raw, export: number }, mapped });
    vk::Result::SUCCESS
}

/// CUDA imports of the memory stay valid; CUDA mappings of it are findings.
pub(super) unsafe extern "system" fn free(
    device: vk::Device,
    memory: vk::DeviceMemory,
    allocator: *const vk::AllocationCallbacks<'_>,
) {
    let mut ledger = gate::ledger();
    let exported = ledger.vulkan.memories.remove(&memory.as_raw());
    if let Some(Memory { descriptor, .. }) = &exported {
        ledger.report_freed_memory(descriptor.export);
    }
    drop(ledger);
    // SAFETY: the same contract.
    unsafe { (underlying().device.fp_v1_0().free_memory)(device, memory, allocator) };
    if let Some(Memory { descriptor, mapped }) = exported {
        drop(mapped);
        gate::ledger().close(descriptor, "exportable memory");
    }
}

pub(super) unsafe extern "system" fn get_fd(
    _device: vk::Device,
    info: *const vk::MemoryGetFdInfoKHR<'_>,
    fd: *mut Raw,
) -> vk::Result {
    // SAFETY: the specification: a valid structure.
    let memory = unsafe { (*info).memory };
    let ledger = gate::ledger();
    let exported = ledger.vulkan.memories.get(&memory.as_raw()).map(|memory| memory.descriptor);
    // SAFETY: the specification: an output.
    unsafe { hand_out(exported, fd) }
}

/// Returns a duplicate of the descriptor, which the caller owns.
///
/// # Safety
///
/// `fd` is valid for a write.
pub(super) unsafe fn hand_out(exported: Option<Descriptor>, fd: *mut Raw) -> vk::Result {
    let Some(Descriptor { raw, .. }) = exported else { return vk::Result::ERROR_INVALID_EXTERNAL_HANDLE };
    let Ok(own) = descriptor::duplicate(raw) else { return vk::Result::ERROR_TOO_MANY_OBJECTS };
    // SAFETY: guaranteed by the caller.
    unsafe { fd.write(own) };
    vk::Result::SUCCESS
}

const OPAQUE: vk::ExternalMemoryHandleTypeFlags = vk::ExternalMemoryHandleTypeFlags::OPAQUE_FD;
