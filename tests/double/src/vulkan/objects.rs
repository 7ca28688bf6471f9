//! Objects that can be exported. The layout of images is also queried for OPTIMAL ones, which a
//! program must not do (VUID-vkGetImageSubresourceLayout-image-07790); lavapipe uses the same
//! layout for both tilings.
#![allow(unsafe_code)]

use std::ffi::c_void;

use ash::vk;

use super::texel::texel;
use super::underlying::underlying;
use crate::descriptor::{self, Raw};
use crate::export::ImageShape;
use crate::layout::{Rows, Size};
use crate::ledger::watch::Descriptor;

/// Memory that can be exported.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) descriptor: Descriptor,
    pub(super) mapped: Mapped,
}

impl Memory {
    /// Returns the size in bytes.
    pub(super) fn size(&self) -> u64 {
        self.mapped.len as u64
    }
}

/// A mapped file, which is unmapped on drop.
#[derive(Debug)]
pub(super) struct Mapped {
    address: usize,
    len: usize,
}

impl Mapped {
    pub(super) fn new(raw: Raw, len: usize) -> Option<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let offset = descriptor::HEADER.cast_signed();
        // SAFETY: a new mapping of a file whose size is that of its header plus `len`; it replaces
        // no mapping.
        let place = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, libc::MAP_SHARED, raw, offset) };
        (place != libc::MAP_FAILED).then(|| Self { address: place.expose_provenance(), len })
    }

    pub(super) fn pointer(&self) -> *mut c_void {
        std::ptr::with_exposed_provenance_mut(self.address)
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: its own mapping, which the underlying driver no longer uses.
        unsafe { libc::munmap(self.pointer(), self.len) };
    }
}

/// A timeline that can be exported.
#[derive(Debug)]
pub(super) struct Timeline {
    pub(super) descriptor: Descriptor,
}

/// An image that may be bound to exportable memory.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) shape: ImageShape,
    texel_size: u64,
    pub(super) bound: Bound,
}

/// Whether an image is bound to memory.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bound {
    No,
    /// Bound to memory that is not exported.
    Unexported,
    /// Bound to the memory of this export.
    To(u64),
}

impl Image {
    /// Returns `None` if CUDA has no matching format.
    pub(super) fn new(info: &vk::ImageCreateInfo<'_>) -> Option<Self> {
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
    pub(super) fn rows(&self, device: vk::Device, image: vk::Image) -> Option<Vec<Rows>> {
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
