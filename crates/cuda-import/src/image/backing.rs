//! The memory of an image: a mipmapped array that is mapped from imported memory, or rows in linear
//! memory.
//!
//! Contains unsafe code because it maps and frees.

#![allow(unsafe_code)]

use std::ops::Range;
use std::sync::Arc;

use cudarc::driver::sys::CUdeviceptr;

use crate::error::image::ImageProblem;
use crate::error::{Error, Object, Result};
use crate::format::texel::Texel;
use crate::image::desc::mipmapped_array_desc;
use crate::image::info::ImageMappingInfo;
use crate::image::objects::ImageObjects;
use crate::leak::count_leak;
use crate::logging::log_error;
use crate::memory::ImportedMemory;
use crate::memory::linear::LinearMapping;
use crate::memory::mapping::Backing;
use crate::sys::{ArrayHandle, CallResult, Driver, ImageEnd, MemoryHandle, MipmappedArrayHandle};

/// The memory of the texels.
#[derive(Debug)]
pub(super) enum ImageBacking {
    /// A CUDA array, in a layout that suits the GPU.
    Array(ArrayBacking),
    /// Rows in linear memory.
    Rows(RowsBacking),
}

/// A mipmapped array with its texture and surface objects.
#[derive(Debug)]
pub(super) struct ArrayBacking {
    pub(super) array: MipmappedArrayHandle,
    /// One array per mip level, owned by `array`.
    pub(super) levels: Box<[ArrayHandle]>,
    pub(super) range: Range<u64>,
    /// Destroyed before `array`.
    pub(super) objects: ImageObjects,
    /// Dropped last: destroying the memory frees no mapping, so the mapping must be freed before.
    pub(super) memory: Arc<ImportedMemory>,
}

/// Tightly packed rows: level after level, and in each level the layers (or slices) one after the
/// other.
#[derive(Debug)]
pub(super) struct RowsBacking {
    pub(super) mapping: LinearMapping,
    /// The address of the first texel of each mip level.
    pub(super) levels: Box<[CUdeviceptr]>,
}

impl ImageBacking {
    /// Returns the array, for texture and surface objects.
    pub(super) fn array(&self) -> Result<&ArrayBacking, ImageProblem> {
        match self {
            Self::Array(array) => Ok(array),
            Self::Rows(_) => Err(ImageProblem::InRows),
        }
    }

    /// Returns the rows, for pointers.
    pub(super) fn rows(&self) -> Result<&RowsBacking, ImageProblem> {
        match self {
            Self::Array(_) => Err(ImageProblem::NoRows),
            Self::Rows(rows) => Ok(rows),
        }
    }

    /// Returns a mip level as the end of a copy.
    pub(super) fn end(&self, level: u32) -> Result<ImageEnd, ImageProblem> {
        Ok(match self {
            Self::Array(array) => ImageEnd::Array(nth(&array.levels, level)?),
            Self::Rows(rows) => ImageEnd::Rows(nth(&rows.levels, level)?),
        })
    }
}

/// Returns the entry of a level.
pub(super) fn nth<L: Copy>(levels: &[L], level: u32) -> Result<L, ImageProblem> {
    let of_level = usize::try_from(level).ok().and_then(|level| levels.get(level));
    let no_such = || ImageProblem::NoSuchLevel { level, levels: u32::try_from(levels.len()).unwrap_or(u32::MAX) };
    of_level.copied().ok_or_else(no_such)
}

impl Backing for ImageBacking {
    fn memory(&self) -> &Arc<ImportedMemory> {
        match self {
            Self::Array(array) => &array.memory,
            Self::Rows(rows) => rows.mapping.memory(),
        }
    }

    fn object(&self) -> Object<'_> {
        Object("image", self.memory().name())
    }

    unsafe fn release(&mut self) -> Result<()> {
        match self {
            // SAFETY: this function has the same contract.
            Self::Array(array) => unsafe { array.release() },
            // SAFETY: this function has the same contract.
            Self::Rows(rows) => unsafe { rows.mapping.release() },
        }
    }

    fn leak(&mut self) {
        self.memory().leak();
    }
}

impl ArrayBacking {
    /// # Safety
    /// The requirements of [`Backing::release`].
    unsafe fn release(&mut self) -> Result<()> {
        let (objects, array) = (self.objects.take(), self.array);
        self.memory.unmap(&self.range, "cuMipmappedArrayDestroy", move |driver| {
            // SAFETY: the objects were created with this driver; the caller guarantees that they
            // are no longer used.
            unsafe { objects.destroy(driver) }?;
            // SAFETY: this function is called once, so the array was not destroyed; its objects are
            // destroyed, and the caller guarantees that it is no longer used. If this runs late,
            // `leak` has kept the memory.
            unsafe { driver.destroy_array(array) }
        })
    }
}

pub(super) fn refuse(object: &Object<'_>, device: &str, problem: ImageProblem) -> Error {
    Error::Image { object: object.to_string(), device: device.to_owned(), problem }
}

/// # Safety
/// The requirements of [`MappedImage::map`](super::MappedImage::map). The array must be destroyed
/// before the memory.
pub(super) unsafe fn map_array<T: Texel>(
    driver: Driver,
    handle: MemoryHandle,
    info: &ImageMappingInfo,
    memory: &Arc<ImportedMemory>,
) -> CallResult<(MipmappedArrayHandle, Box<[ArrayHandle]>)> {
    let desc = mipmapped_array_desc(info, T::FORMAT);
    // SAFETY: `memory` keeps the memory alive; this function's caller guarantees the description of
    // the image.
    let array = unsafe { driver.map_array(handle, &desc) }?;
    let levels = (0..info.levels).map(|level| {
        // SAFETY: the array is alive, and its levels are stored with it.
        unsafe { driver.array_level(array, level) }
    });
    match levels.collect() {
        Ok(levels) => Ok((array, levels)),
        Err(error) => {
            // SAFETY: the array was only queried for its levels.
            if let Err(error) = unsafe { driver.destroy_array(array) } {
                memory.leak();
                count_leak();
                let error = error.at(Object("image", memory.name()), memory.device().name());
                log_error!("{error}");
            }
            Err(error)
        }
    }
}
