//! The one place where an exported thing becomes an imported one.
//!
//! Nothing is passed by hand: what the importer must repeat comes from the exporter's descriptor, and the pair proves
//! that both devices are one GPU.
#![allow(unsafe_code)] // Imports trust what they are told.

use std::sync::Arc;

use cuda_import::{CudaDevice, ImportedMemory, ImportedSemaphore, MemoryImportInfo, SemaphoreKind};
use vk_export::{Buffer, Semaphore, Uuid};

use crate::{Error, Result};

/// Imports a buffer's memory.
pub(crate) fn memory(buffer: &Buffer, cuda: &CudaDevice) -> Result<Arc<ImportedMemory>> {
    let exported = buffer.export()?;
    let descriptor = &exported.descriptor;
    check_device(buffer.device().name(), descriptor.device_uuid, cuda)?;
    let info = MemoryImportInfo {
        name: &descriptor.name,
        allocation_size: descriptor.allocation_size,
        dedicated: descriptor.dedicated,
    };
    // SAFETY: rule "mappings must match those of the exporting API": handle, size and dedicated flag come from one
    // export of the very allocation, on the same GPU. The exchange's turns order the accesses of both sides.
    Ok(unsafe { ImportedMemory::import(cuda, exported.handle, &info) }?)
}

/// Imports a semaphore.
pub(crate) fn semaphore(semaphore: &Semaphore, cuda: &CudaDevice) -> Result<ImportedSemaphore> {
    let exported = semaphore.export()?;
    let descriptor = &exported.descriptor;
    check_device(semaphore.device().name(), descriptor.device_uuid, cuda)?;
    let kind = match descriptor.kind {
        vk_export::SemaphoreKind::Timeline => SemaphoreKind::Timeline,
        vk_export::SemaphoreKind::Binary => SemaphoreKind::Binary,
    };
    // SAFETY: the handle was exported a moment ago from a semaphore of this kind on the same GPU.
    Ok(unsafe { ImportedSemaphore::import(cuda, exported.handle, kind, &descriptor.name) }?)
}

fn check_device(vulkan: &str, vulkan_uuid: Uuid, cuda: &CudaDevice) -> Result<()> {
    if vulkan_uuid == cuda.uuid() {
        return Ok(());
    }
    Err(Error::DifferentDevices {
        vulkan: vulkan.to_owned(),
        vulkan_uuid,
        cuda: cuda.name().to_owned(),
        cuda_uuid: cuda.uuid(),
    })
}
