//! Images in exportable memory: their creation, and their binding to memory.
#![allow(unsafe_code)]

use ash::vk;
use ash::vk::Handle as _;

use super::chain::find;
use super::objects::{Bound, Image};
use super::underlying::underlying;
use crate::export::{Export, ExportedImage, ImageShape};
use crate::finding::Kind;
use crate::gate;
use crate::ledger::Ledger;

pub(super) unsafe extern "system" fn create(
    device: vk::Device,
    info: *const vk::ImageCreateInfo<'_>,
    allocator: *const vk::AllocationCallbacks<'_>,
    image: *mut vk::Image,
) -> vk::Result {
    // SAFETY: the same contract. The underlying driver ignores handle types that it does not know.
    let result = unsafe { (underlying().device.fp_v1_0().create_image)(device, info, allocator, image) };
    // SAFETY: the specification: a valid chain.
    let external = unsafe { find::<vk::ExternalMemoryImageCreateInfo<'_>>(info.cast()) };
    // SAFETY: as above.
    let is_external = external.is_some_and(|it| unsafe { (*it).handle_types }.contains(OPAQUE));
    if result == vk::Result::SUCCESS && is_external {
        // SAFETY: the specification: a valid structure.
        if let Some(made) = Image::new(unsafe { &*info }) {
            // SAFETY: the specification: an output, which was set.
            gate::ledger().vulkan.images.insert(unsafe { *image }.as_raw(), made);
        }
    }
    result
}

pub(super) unsafe extern "system" fn destroy(
    device: vk::Device,
    image: vk::Image,
    allocator: *const vk::AllocationCallbacks<'_>,
) {
    let mut ledger = gate::ledger();
    if let Some(Image { bound: Bound::To(export), .. }) = ledger.vulkan.images.remove(&image.as_raw()) {
        ledger.report_destroyed_image(export);
        // Later mappings of the memory contain no image.
        if let Some(Export::Memory { image, .. }) = ledger.exports.get_mut(&export) {
            *image = None;
        }
    }
    drop(ledger);
    // SAFETY: the same contract.
    unsafe { (underlying().device.fp_v1_0().destroy_image)(device, image, allocator) };
}

pub(super) unsafe extern "system" fn bind(
    device: vk::Device,
    image: vk::Image,
    memory: vk::DeviceMemory,
    offset: vk::DeviceSize,
) -> vk::Result {
    // SAFETY: the same contract.
    let result = unsafe { (underlying().device.fp_v1_0().bind_image_memory)(device, image, memory, offset) };
    if result == vk::Result::SUCCESS { note(&mut gate::ledger(), device, image, memory, offset) } else { result }
}

pub(super) unsafe extern "system" fn bind_several(
    device: vk::Device,
    count: u32,
    infos: *const vk::BindImageMemoryInfo<'_>,
) -> vk::Result {
    // SAFETY: the same contract.
    let result = unsafe { (underlying().device.fp_v1_1().bind_image_memory2)(device, count, infos) };
    if result != vk::Result::SUCCESS {
        return result;
    }
    let mut ledger = gate::ledger();
    // SAFETY: the specification: an array of `count` elements, at least one.
    let infos = unsafe { std::slice::from_raw_parts(infos, count as usize) };
    let noted = infos.iter().map(|info| note(&mut ledger, device, info.image, info.memory, info.memory_offset));
    noted.fold(vk::Result::SUCCESS, |all, one| if one == vk::Result::SUCCESS { all } else { one })
}

/// Records that the exported memory contains the image.
fn note(
    ledger: &mut Ledger,
    device: vk::Device,
    image: vk::Image,
    memory: vk::DeviceMemory,
    offset: u64,
) -> vk::Result {
    let Some(bound) = ledger.vulkan.images.get_mut(&image.as_raw()) else { return vk::Result::SUCCESS };
    let export = ledger.vulkan.memories.get(&memory.as_raw()).map(|memory| memory.descriptor.export);
    let before = std::mem::replace(&mut bound.bound, export.map_or(Bound::Unexported, Bound::To));
    let (shape, rows) = (bound.shape, bound.rows(device, image));
    if !matches!(before, Bound::No) {
        ledger.report(Kind::BoundTwice, format!("image {:#x} is bound to memory again", image.as_raw()));
    }
    let Some(number) = export else { return vk::Result::SUCCESS };
    let Some(mut rows) = rows else { return vk::Result::ERROR_UNKNOWN };
    rows.iter_mut().for_each(|rows| rows.start += offset);
    let made = ExportedImage { shape: ImageShape { offset, ..shape }, rows };
    if let Some(Export::Memory { image, .. }) = ledger.exports.get_mut(&number) {
        *image = Some(made);
    }
    vk::Result::SUCCESS
}

const OPAQUE: vk::ExternalMemoryHandleTypeFlags = vk::ExternalMemoryHandleTypeFlags::OPAQUE_FD;
