//! Imports of Vulkan handles as CUDA objects, through file descriptors.
//!
//! A successful import transfers the descriptor to the CUDA driver. A driver may have closed it
//! after a failed one as well, and the number may be another file's by then, so it is not closed
//! here either: at worst, a failed benchmark leaks one.
#![allow(unsafe_code)] // Imports trust what they are told.

use anyhow::Result;
use bridge::ash::{khr, vk};
use bridge::cuda_import::cudarc::driver::sys;

/// Exports `memory`, an exportable allocation of `size` bytes, and imports it. The context must be
/// bound.
#[cfg(unix)]
pub(crate) fn memory(
    calls: &khr::external_memory_fd::Device,
    memory: vk::DeviceMemory,
    size: u64,
    dedicated: bool,
) -> Result<sys::CUexternalMemory> {
    let info =
        vk::MemoryGetFdInfoKHR::default().memory(memory).handle_type(vk::ExternalMemoryHandleTypeFlags::OPAQUE_FD);
    // SAFETY: VUID-VkMemoryGetFdInfoKHR-handleType-00671: allocated for this handle type.
    let fd = unsafe { calls.get_memory_fd(&info) }?;
    let desc = sys::CUDA_EXTERNAL_MEMORY_HANDLE_DESC {
        type_: sys::CUexternalMemoryHandleType::CU_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD,
        handle: sys::CUDA_EXTERNAL_MEMORY_HANDLE_DESC_st__bindgen_ty_1 { fd },
        size,
        flags: if dedicated { sys::CUDA_EXTERNAL_MEMORY_DEDICATED } else { 0 },
        reserved: [0; 16],
    };
    let mut imported = std::ptr::null_mut();
    // SAFETY: an open descriptor of memory of the same GPU, with its correct size and flag.
    super::cuda::check("cuImportExternalMemory", unsafe { sys::cuImportExternalMemory(&mut imported, &desc) })?;
    Ok(imported)
}

/// Exports `timeline`, an exportable timeline semaphore, and imports it. The context must be bound.
#[cfg(unix)]
pub(crate) fn timeline(
    calls: &khr::external_semaphore_fd::Device,
    timeline: vk::Semaphore,
) -> Result<sys::CUexternalSemaphore> {
    let info = vk::SemaphoreGetFdInfoKHR::default()
        .semaphore(timeline)
        .handle_type(vk::ExternalSemaphoreHandleTypeFlags::OPAQUE_FD);
    // SAFETY: VUID-VkSemaphoreGetFdInfoKHR-handleType-01132: created for this handle type.
    let fd = unsafe { calls.get_semaphore_fd(&info) }?;
    let desc = sys::CUDA_EXTERNAL_SEMAPHORE_HANDLE_DESC {
        type_: sys::CUexternalSemaphoreHandleType::CU_EXTERNAL_SEMAPHORE_HANDLE_TYPE_TIMELINE_SEMAPHORE_FD,
        handle: sys::CUDA_EXTERNAL_SEMAPHORE_HANDLE_DESC_st__bindgen_ty_1 { fd },
        flags: 0,
        reserved: [0; 16],
    };
    let mut imported = std::ptr::null_mut();
    // SAFETY: an open descriptor of a timeline of the same GPU.
    super::cuda::check("cuImportExternalSemaphore", unsafe { sys::cuImportExternalSemaphore(&mut imported, &desc) })?;
    Ok(imported)
}

/// The calls by hand only support file descriptors.
#[cfg(not(unix))]
pub(crate) fn memory(
    _: &khr::external_memory_fd::Device,
    _: vk::DeviceMemory,
    _: u64,
    _: bool,
) -> Result<sys::CUexternalMemory> {
    crate::harness::Skip::because("the calls written by hand know file descriptors only")
}

/// The calls by hand only support file descriptors.
#[cfg(not(unix))]
pub(crate) fn timeline(_: &khr::external_semaphore_fd::Device, _: vk::Semaphore) -> Result<sys::CUexternalSemaphore> {
    crate::harness::Skip::because("the calls written by hand know file descriptors only")
}
