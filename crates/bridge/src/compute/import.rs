//! Imports of exported memory and semaphores into CUDA. No other module imports them.
//!
//! All parameters that the importer must repeat come from the exporter's descriptor. The pair
//! guarantees that both devices are the same GPU, or that the importing GPUs can access the
//! exporting one, and the UUID of each descriptor is compared with it: drivers accept a descriptor
//! of a third GPU without an error, and then access wrong memory.
#![allow(unsafe_code)] // Imports rely on correct descriptors.

use std::sync::Arc;

use cuda_import::{ImageMappingInfo, ImportedMemory, ImportedSemaphore, MemoryImportInfo, SemaphoreKind};
use vk_export::ash::vk;
use vk_export::{Block, Buffer, Image, ImageKind, MemoryDescriptor, MemoryHandle, Semaphore, Uuid};

use crate::compute::gpus::{Gpus, Pair};
use crate::error::{Error, Result};
use crate::observe::trace;

/// Imports a buffer's memory.
pub(crate) fn memory(buffer: &Buffer, gpus: &Gpus) -> Result<Arc<ImportedMemory>> {
    let exported = buffer.export()?;
    import(buffer.device().name(), exported.handle, &exported.descriptor, gpus)
}

/// Imports a block's memory.
pub(crate) fn block(block: &Block, gpus: &Gpus) -> Result<Arc<ImportedMemory>> {
    let exported = block.export()?;
    import(block.device().name(), exported.handle, &exported.descriptor, gpus)
}

/// Imports an image's memory. Also returns the parameters that the mapping must repeat. If
/// `layered` is set, kernels see an array of images even if there is one layer.
pub(crate) fn image(image: &Image, gpus: &Gpus, layered: bool) -> Result<(Arc<ImportedMemory>, ImageMappingInfo)> {
    let exported = image.export()?;
    let descriptor = &exported.descriptor;
    let memory = import(image.device().name(), exported.handle, &descriptor.memory, gpus)?;
    let mapping = ImageMappingInfo {
        offset: descriptor.memory.offset,
        kind: kind(descriptor.kind, &descriptor.memory.name)?,
        extent: descriptor.extent,
        layers: descriptor.array_layers,
        layered,
        levels: descriptor.mip_levels,
        surface: true,
        color_attachment: descriptor.usage.contains(vk::ImageUsageFlags::COLOR_ATTACHMENT),
    };
    Ok((memory, mapping))
}

/// Returns the parameters for mapping an image's rows, which are in separate memory.
pub(crate) fn image_mapping_info(image: &Image, layered: bool) -> Result<ImageMappingInfo> {
    Ok(ImageMappingInfo {
        kind: kind(image.kind(), image.name())?,
        extent: image.extent(),
        layers: image.array_layers(),
        layered,
        levels: image.mip_levels(),
        ..ImageMappingInfo::default()
    })
}

fn kind(kind: ImageKind, object: &str) -> Result<cuda_import::ImageKind> {
    match kind {
        ImageKind::D1 => Ok(cuda_import::ImageKind::D1),
        ImageKind::D2 => Ok(cuda_import::ImageKind::D2),
        ImageKind::D3 => Ok(cuda_import::ImageKind::D3),
        ImageKind::Cube => Ok(cuda_import::ImageKind::Cube),
        other => Err(Error::invalid(object, format!("CUDA cannot map an image of this kind: {other:?}"))),
    }
}

fn import(
    device: &str,
    handle: MemoryHandle,
    descriptor: &MemoryDescriptor,
    gpus: &Gpus,
) -> Result<Arc<ImportedMemory>> {
    check_device(device, &descriptor.name, descriptor.device_uuid, gpus.into())?;
    let info = MemoryImportInfo {
        name: &descriptor.name,
        allocation_size: descriptor.allocation_size,
        dedicated: descriptor.dedicated,
    };
    trace::export_memory(descriptor);
    let imported = match gpus.pair() {
        Pair::Same(pair) => {
            let handle = import_handle(handle, info.name)?;
            // SAFETY: rule "mappings must match those of the exporting API": handle, size and
            // dedicated flag come from one export of the allocation, on the same GPU. The
            // exchange's turns order the accesses of both sides.
            unsafe { ImportedMemory::import(pair.cuda(), handle, &info) }?
        }
        Pair::Peer(_) => {
            let (first, others) = (gpus.leader(), gpus.devices().get(1..).unwrap_or_default());
            let handle = peer_handle(handle, info.name)?;
            // SAFETY: as above; the UUID was checked to be that of the GPU whose memory these GPUs
            // can access.
            unsafe { ImportedMemory::import_peer(first, others, handle, &info) }?
        }
    };
    trace::import(info.name);
    Ok(imported)
}

/// Imports a semaphore for the leading GPU.
pub(crate) fn semaphore(semaphore: &Semaphore, gpus: &Gpus) -> Result<ImportedSemaphore> {
    let exported = semaphore.export()?;
    let descriptor = &exported.descriptor;
    check_device(semaphore.device().name(), &descriptor.name, descriptor.device_uuid, gpus.into())?;
    let kind = match descriptor.kind {
        vk_export::SemaphoreKind::Timeline => SemaphoreKind::Timeline,
        vk_export::SemaphoreKind::Binary => SemaphoreKind::Binary,
        other => {
            let reason = format!("CUDA cannot import a semaphore of this kind: {other:?}");
            return Err(Error::invalid(&*descriptor.name, reason));
        }
    };
    trace::export_timeline(&descriptor.name);
    // SAFETY: the handle was just exported from a semaphore of this kind, on the same GPU, or on
    // the GPU that the leading one is a peer of, for which the probe has checked that this works.
    let imported = unsafe { ImportedSemaphore::import(gpus.leader(), exported.handle, kind, &descriptor.name) }?;
    trace::import(&descriptor.name);
    Ok(imported)
}

/// Converts the handle to the importer's type.
fn import_handle(handle: MemoryHandle, object: &str) -> Result<cuda_import::ImportHandle> {
    match handle {
        #[cfg(unix)]
        MemoryHandle::Fd(handle) => Ok(handle.into()),
        #[cfg(windows)]
        MemoryHandle::Nt(handle) => Ok(handle.into()),
        #[cfg(windows)]
        MemoryHandle::Kmt(handle) => Ok(cuda_import::KmtHandle::from_raw(handle.as_raw()).into()),
        other => Err(Error::invalid(object, format!("CUDA cannot import a handle of this kind: {other:?}"))),
    }
}

/// Converts the handle to the type that GPUs other than the exporting one can import.
#[cfg_attr(unix, allow(clippy::unnecessary_wraps, reason = "on Windows there is none"))]
fn peer_handle(handle: MemoryHandle, object: &str) -> Result<cuda_import::OsHandle> {
    match handle {
        #[cfg(unix)]
        MemoryHandle::Fd(handle) => Ok(handle),
        other => {
            let reason = format!("only the exporting GPU can import a handle of this kind: {other:?}");
            Err(Error::invalid(object, reason))
        }
    }
}

/// The GPU that the pair was checked for, by name and UUID.
#[derive(Clone, Copy)]
enum CheckedGpu<'a> {
    /// CUDA computes on this GPU.
    Same(&'a str, Uuid),
    /// CUDA's GPUs can access the memory of this GPU.
    Peer(&'a str, Uuid),
}

impl<'a> From<&'a Gpus> for CheckedGpu<'a> {
    fn from(gpus: &'a Gpus) -> Self {
        match gpus.pair() {
            Pair::Same(pair) => Self::Same(pair.cuda().name(), pair.cuda().uuid()),
            Pair::Peer(drawing) => Self::Peer(drawing.name(), drawing.uuid()),
        }
    }
}

/// Checks that an object was exported by the GPU that the pair was checked for.
fn check_device(vulkan: &str, object: &str, exported: Uuid, proven: CheckedGpu<'_>) -> Result<()> {
    match proven {
        CheckedGpu::Same(_, uuid) | CheckedGpu::Peer(_, uuid) if exported == uuid => Ok(()),
        CheckedGpu::Same(cuda, cuda_uuid) => Err(Error::DifferentDevices {
            vulkan: vulkan.to_owned(),
            vulkan_uuid: exported,
            cuda: cuda.to_owned(),
            cuda_uuid,
        }),
        CheckedGpu::Peer(drawing, uuid) => Err(Error::invalid(
            object,
            format!(
                "it is on \"{vulkan}\" ({exported}), but this compute side was created for \"{drawing}\" ({uuid}); \
                 create one with `Compute::on_peer` for that device"
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kernels see an array even if there is one layer, which `layers` does not tell.
    #[test]
    #[cfg(all(target_os = "linux", feature = "remote"))]
    fn rows_of_an_array_of_one_layer_are_those_of_an_array() {
        let Some(device) = crate::test_device::device() else { return };
        let info = vk_export::ImageInfo {
            name: "array",
            format: vk::Format::R8G8B8A8_UNORM,
            extent: [8, 4, 1],
            usage: vk::ImageUsageFlags::TRANSFER_DST,
            ..Default::default()
        };
        let image = Image::new(&device, &info).unwrap();
        for layered in [true, false] {
            let mapping = image_mapping_info(&image, layered).unwrap();
            assert_eq!((mapping.layered, mapping.layers, mapping.extent), (layered, 1, [8, 4, 1]));
        }
    }

    #[test]
    fn objects_of_another_gpu_are_refused() {
        let [own, other] = [1, 2].map(Uuid::from_u128);
        for proven in [CheckedGpu::Same("A", own), CheckedGpu::Peer("A", own)] {
            check_device("A", "buffer", own, proven).unwrap();
        }
        let error = check_device("B", "buffer", other, CheckedGpu::Same("A", own)).unwrap_err();
        assert!(
            matches!(&error, Error::DifferentDevices { vulkan_uuid, cuda_uuid, .. } if (*vulkan_uuid, *cuda_uuid) == (other, own)),
            "{error}"
        );
        let error = check_device("B", "buffer", other, CheckedGpu::Peer("A", own)).unwrap_err();
        assert!(matches!(error, Error::InvalidArgument { .. }), "{error}");
        let text = error.to_string();
        let names = ["buffer", &other.to_string(), &own.to_string(), "Compute::on_peer"];
        assert!(names.iter().all(|name| text.contains(name)), "{text}");
    }
}
