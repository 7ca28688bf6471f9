//! The one place where an exported thing becomes an imported one.
//!
//! Nothing is passed by hand: what the importer must repeat comes from the exporter's descriptor, and the pair proves
//! that both devices are one GPU.
#![allow(unsafe_code)] // Imports trust what they are told.

use std::sync::Arc;

use cuda_import::{CudaDevice, ImageMappingInfo, ImportedMemory, ImportedSemaphore, MemoryImportInfo, SemaphoreKind};
use vk_export::ash::vk;
use vk_export::{Block, Buffer, Image, ImageKind, MemoryDescriptor, MemoryHandle, Semaphore, Uuid};

use crate::error::{Error, Result};
use crate::observe::trace;
use crate::observe::trace::Event;

/// Imports a buffer's memory.
pub(crate) fn memory(buffer: &Buffer, cuda: &CudaDevice) -> Result<Arc<ImportedMemory>> {
    let exported = buffer.export()?;
    import(buffer.device().name(), exported.handle, &exported.descriptor, cuda)
}

/// Imports a block's memory.
pub(crate) fn block(block: &Block, cuda: &CudaDevice) -> Result<Arc<ImportedMemory>> {
    let exported = block.export()?;
    import(block.device().name(), exported.handle, &exported.descriptor, cuda)
}

/// Imports an image's memory; with it, what the mapping must repeat. `layered` is for kernels: whether they see an array of
/// images even if there is one layer.
pub(crate) fn image(
    image: &Image,
    cuda: &CudaDevice,
    layered: bool,
) -> Result<(Arc<ImportedMemory>, ImageMappingInfo)> {
    let exported = image.export()?;
    let descriptor = &exported.descriptor;
    let memory = import(image.device().name(), exported.handle, &descriptor.memory, cuda)?;
    let kind = match descriptor.kind {
        ImageKind::D1 => cuda_import::ImageKind::D1,
        ImageKind::D2 => cuda_import::ImageKind::D2,
        ImageKind::D3 => cuda_import::ImageKind::D3,
        ImageKind::Cube => cuda_import::ImageKind::Cube,
    };
    let mapping = ImageMappingInfo {
        offset: descriptor.memory.offset,
        kind,
        extent: descriptor.extent,
        layers: descriptor.array_layers,
        layered,
        levels: descriptor.mip_levels,
        surface: true,
        color_attachment: descriptor.usage.contains(vk::ImageUsageFlags::COLOR_ATTACHMENT),
    };
    Ok((memory, mapping))
}

fn import(
    device: &str,
    handle: MemoryHandle,
    descriptor: &MemoryDescriptor,
    cuda: &CudaDevice,
) -> Result<Arc<ImportedMemory>> {
    check_device(device, descriptor.device_uuid, cuda)?;
    let info = MemoryImportInfo {
        name: &descriptor.name,
        allocation_size: descriptor.allocation_size,
        dedicated: descriptor.dedicated,
    };
    trace::event(Event {
        bytes: Some(descriptor.allocation_size),
        dedicated: Some(descriptor.dedicated),
        ..Event::new("export", "vulkan", &descriptor.name)
    });
    // SAFETY: rule "mappings must match those of the exporting API": handle, size and dedicated flag come from one
    // export of the very allocation, on the same GPU. The exchange's turns order the accesses of both sides.
    let imported = unsafe { ImportedMemory::import(cuda, import_handle(handle, info.name)?, &info) }?;
    trace::event(Event::new("import", "cuda", info.name));
    Ok(imported)
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
    trace::event(Event::new("export", "vulkan", &descriptor.name));
    // SAFETY: the handle was exported a moment ago from a semaphore of this kind on the same GPU.
    let imported = unsafe { ImportedSemaphore::import(cuda, exported.handle, kind, &descriptor.name) }?;
    trace::event(Event::new("import", "cuda", &descriptor.name));
    Ok(imported)
}

/// The same handle in the importer's words.
fn import_handle(handle: MemoryHandle, object: &str) -> Result<cuda_import::ImportHandle> {
    match handle {
        #[cfg(unix)]
        MemoryHandle::Fd(handle) => Ok(handle.into()),
        #[cfg(windows)]
        MemoryHandle::Nt(handle) => Ok(handle.into()),
        #[cfg(windows)]
        MemoryHandle::Kmt(handle) => Ok(cuda_import::KmtHandle::from_raw(handle.as_raw()).into()),
        other => Err(Error::InvalidArgument {
            object: object.to_owned(),
            reason: format!("CUDA imports no handle of this kind: {other:?}"),
        }),
    }
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
