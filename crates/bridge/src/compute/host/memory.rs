//! Mappings of Vulkan memory on the CPU.
#![allow(unsafe_code)] // Slices of mapped memory.

use std::ptr::NonNull;

use bytemuck::Pod;
use cuda_import::Texel;
use vk_export::{Buffer, Image};

use crate::compute::mapped::Mapping;
use crate::error::{Error, Result};
use crate::host_image::{HostImageMut, PlaneLayout};
use crate::staging::Staging;

/// The mapping of a pool block, which is empty: Vulkan maps the block.
#[derive(Debug)]
pub(crate) struct HostBlock;

/// A host-visible buffer of `T`.
#[derive(Debug)]
pub struct HostBuffer<T> {
    start: NonNull<T>,
    len: usize,
}

// SAFETY: the pointer is into Vulkan's mapping, and `T` is plain data; the contract of `slice_mut`
// orders reads and writes through the pointer.
unsafe impl<T: Send> Send for HostBuffer<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for HostBuffer<T> {}

impl<T: Pod> HostBuffer<T> {
    /// Maps a buffer that is known to have room for `len` elements.
    pub(in crate::compute) fn map(buffer: &Buffer, len: usize) -> Result<Self> {
        let invalid = |reason: &str| Error::invalid(format!("shared buffer \"{}\"", buffer.name()), reason);
        let start = buffer.host_ptr().ok_or_else(|| invalid("its memory could not be mapped"))?.cast::<T>();
        if !start.is_aligned() {
            return Err(invalid("its elements require a larger alignment than the driver's mappings have"));
        }
        Ok(Self { start, len })
    }

    /// Returns the address of the first element.
    pub(crate) fn as_mut_ptr(&self) -> *mut T {
        self.start.as_ptr()
    }

    /// Returns the number of elements.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns the elements.
    ///
    /// # Safety
    /// While the slice exists, the buffer lives, Vulkan does not use it, and no other slice of it
    /// exists.
    #[allow(clippy::mut_from_ref)] // Exclusive by contract.
    pub(crate) unsafe fn slice_mut(&self) -> &mut [T] {
        // SAFETY: the mapped buffer has room for `len` aligned elements; all bit patterns are a
        // valid `Pod`; access is exclusive and the buffer alive by this function's contract.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

/// An image whose rows are in host-visible memory: its own memory, or that of a staging buffer.
#[derive(Debug)]
pub struct HostImage<T> {
    start: NonNull<T>,
    planes: Box<[PlaneLayout]>,
    levels: u32,
}

// SAFETY: the pointer is into Vulkan's mapping, and texels are plain data; the contract of
// `view_mut` orders reads and writes through the pointer.
unsafe impl<T: Send> Send for HostImage<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for HostImage<T> {}

impl<T: Texel> HostImage<T> {
    /// Maps an image: gets the layouts of its planes, in the order of [`HostImageMut`], and checks
    /// them against the image's memory.
    pub(in crate::compute) fn map(image: &Image) -> Result<Self> {
        let invalid = |reason: &str| Error::invalid(format!("shared image \"{}\"", image.name()), reason);
        let start = image.host_ptr().ok_or_else(|| invalid("its memory could not be mapped"))?.cast::<T>();
        let size = usize::try_from(image.host_size()).unwrap_or(usize::MAX);
        let mut planes = Vec::new();
        for layer in 0..image.array_layers() {
            for level in 0..image.mip_levels() {
                let plane = plane(image, level, layer)
                    .ok_or_else(|| invalid("the driver does not report the layout of its rows"))?;
                if !plane.fits::<T>(size) || !start.is_aligned() {
                    return Err(invalid("the layout of its rows does not fit a slice of texels"));
                }
                planes.push(plane);
            }
        }
        Ok(Self { start, planes: planes.into(), levels: image.mip_levels() })
    }

    /// Maps the planes of a staging buffer, whose rows are copied into the image and back.
    pub(in crate::compute) fn of_rows(image: &Image, staging: &Staging) -> Result<Self> {
        let buffer = staging.buffer();
        let invalid = |reason: &str| Error::invalid(format!("staging buffer \"{}\"", buffer.name()), reason);
        let start = buffer.host_ptr().ok_or_else(|| invalid("its memory could not be mapped"))?.cast::<T>();
        let size = usize::try_from(buffer.size()).unwrap_or(usize::MAX);
        let fits = |plane: &PlaneLayout| plane.fits::<T>(size);
        if !start.is_aligned() || !staging.planes().iter().all(fits) {
            return Err(invalid("the layout of its rows does not fit a slice of texels"));
        }
        Ok(Self { start, planes: staging.planes().into(), levels: image.mip_levels() })
    }

    /// Returns the texels.
    ///
    /// # Safety
    /// While the view exists, the image lives, Vulkan does not use it, and no other view of it
    /// exists.
    pub(crate) unsafe fn view_mut(&self) -> HostImageMut<'_, T> {
        // SAFETY: the planes were checked to fit the mapping; access is exclusive and the image
        // alive by this function's contract.
        unsafe { HostImageMut::new(self.start.cast(), &self.planes, self.levels) }
    }
}

fn plane(image: &Image, level: u32, layer: u32) -> Option<PlaneLayout> {
    let layout = image.host_layout(level, layer)?;
    let [width, height, depth] = image.level_extent(level).map(|texels| usize::try_from(texels).unwrap_or(usize::MAX));
    Some(PlaneLayout {
        offset: usize::try_from(layout.offset).ok()?,
        row_pitch: usize::try_from(layout.row_pitch).ok()?,
        depth_pitch: usize::try_from(layout.depth_pitch).ok()?,
        width,
        height,
        depth,
    })
}

// Nothing is freed here: the mapping is Vulkan's and ends with the memory.

impl<T> Mapping for HostBuffer<T> {
    fn close(self) -> Result<()> {
        Ok(())
    }
}

impl<T> Mapping for HostImage<T> {
    fn close(self) -> Result<()> {
        Ok(())
    }
}
