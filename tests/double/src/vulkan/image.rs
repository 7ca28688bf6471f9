//! Images in exportable memory, and where the underlying driver placed their texels. The layout is
//! also queried for OPTIMAL images, which a program must not do
//! (VUID-vkGetImageSubresourceLayout-image-07790); lavapipe uses the same layout for both tilings.
#![allow(unsafe_code)]

use ash::vk;
use ash::vk::Handle as _;

use super::chain::find;
use super::entry::underlying;
use super::texel::texel;
use crate::array::Size;
use crate::export::{Export, ExportedImage, ImageShape};
use crate::finding::Kind;
use crate::gate;
use crate::layout::Rows;
use crate::ledger::Ledger;

/// An image that may be bound to exportable memory.
#[derive(Debug)]
pub(super) struct Image {
    shape: ImageShape,
    texel_size: u64,
    bound: Bound,
}

/// Whether an image is bound to memory.
#[derive(Clone, Copy, Debug)]
enum Bound {
    No,
    /// Bound to memory that is not exported.
    Unexported,
    /// Bound to the memory of this export.
    To(u64),
}

impl Image {
    /// Returns `None` if CUDA has no matching format.
    fn new(info: &vk::ImageCreateInfo<'_>) -> Option<Self> {
        let (format, channels, channel_size) = texel(info.format)?;
        let cube = info.flags.contains(vk::ImageCreateFlags::CUBE_COMPATIBLE) && info.array_layers.is_multiple_of(6);
        let shape = ImageShape {
            offset: 0,
            dimensions: match info.image_type {
                vk::ImageType::TYPE_1D => 1,
                vk::ImageType::TYPE_3D => 3,
                _ => 2,
            },
            extent: [info.extent.width, info.extent.height, info.extent.depth],
            layers: info.array_layers,
            cube,
            layered: false,
            levels: info.mip_levels,
            format,
            channels,
            color_attachment: info.usage.contains(vk::ImageUsageFlags::COLOR_ATTACHMENT),
        };
        Some(Self { shape, texel_size: channel_size * u64::from(channels), bound: Bound::No })
    }

    fn size(&self, level: u32) -> Size {
        let [width, height, depth] = self.shape.extent.map(|n| u64::from((n >> level).max(1)));
        let slices = if self.shape.dimensions == 3 { depth } else { self.shape.layers.into() };
        Size { row: width * self.texel_size, rows: height, slices }
    }

    /// Returns where the underlying driver placed the levels, relative to the start of the image,
    /// or `None` if it reports no valid layout.
    fn rows(&self, device: vk::Device, image: vk::Image) -> Option<Vec<Rows>> {
        let ask = underlying().device.fp_v1_0().get_image_subresource_layout;
        let rows = |level| {
            let aspect_mask = vk::ImageAspectFlags::COLOR;
            let subresource = vk::ImageSubresource { aspect_mask, mip_level: level, array_layer: 0 };
            let mut layout = vk::SubresourceLayout::default();
            // SAFETY: a live image of that device, and one of its levels; see the module comment
            // about tiling.
            unsafe { ask(device, image, &subresource, &mut layout) };
            let slice_pitch = if self.shape.dimensions == 3 { layout.depth_pitch } else { layout.array_pitch };
            let (rows, size) =
                (Rows { start: layout.offset, row_pitch: layout.row_pitch, slice_pitch }, self.size(level));
            let is_whole =
                rows.row_pitch >= size.row && (size.slices == 1 || slice_pitch >= size.rows * rows.row_pitch);
            is_whole.then_some(rows)
        };
        (0..self.shape.levels).map(rows).collect()
    }
}

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
