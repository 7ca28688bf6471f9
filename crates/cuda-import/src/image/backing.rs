//! An image's half of a mapping: its mipmapped array, made in imported memory and given back to it.

#![allow(unsafe_code)]

use std::ops::Range;
use std::sync::Arc;

use crate::error::{Error, Object};
use crate::image::info::ImageMappingInfo;
use crate::image::objects::ImageObjects;
use crate::image::problem::ImageProblem;
use crate::image::texel::Texel;
use crate::leak::count_leak;
use crate::logging::isolated;
use crate::memory::ImportedMemory;
use crate::memory::mapping::Backing;
use crate::sys::{self, ArrayHandle, CallResult, Driver, MemoryHandle, MipmappedArrayHandle};

/// A mipmapped array with its texture and surface objects.
#[derive(Debug)]
pub(super) struct ImageBacking {
    pub(super) array: MipmappedArrayHandle,
    pub(super) range: Range<u64>,
    /// Destroyed before `array`.
    pub(super) objects: ImageObjects,
    /// Last: destroying the memory frees no mapping, so the mapping must be gone by then.
    pub(super) memory: Arc<ImportedMemory>,
}

impl Backing for ImageBacking {
    fn memory(&self) -> &Arc<ImportedMemory> {
        &self.memory
    }

    fn object(&self) -> Object<'_> {
        Object("image", self.memory.name())
    }

    unsafe fn release(&mut self) -> Result<(), Error> {
        let (objects, array) = (self.objects.take(), self.array);
        self.memory.unmap(&self.range, "cuMipmappedArrayDestroy", move |driver| {
            // SAFETY: the objects were made with this driver; the caller vouches for their use.
            unsafe { objects.destroy(driver) }?;
            // SAFETY: this function is called once, so the array was not destroyed; its objects are
            // gone, and the caller vouches for its use. Where this runs late, `keep` has kept the
            // memory.
            unsafe { driver.destroy_array(array) }
        })
    }

    fn keep(&mut self) {
        self.memory.keep();
    }
}

pub(super) fn refuse(object: &Object<'_>, device: &str, problem: ImageProblem) -> Error {
    Error::Image { object: object.to_string(), device: device.to_owned(), problem }
}

/// # Safety
/// As [`MappedImage::map`](super::MappedImage::map). The array goes before the memory.
pub(super) unsafe fn map_array<T: Texel>(
    driver: Driver,
    handle: MemoryHandle,
    info: &ImageMappingInfo,
    memory: &Arc<ImportedMemory>,
) -> CallResult<(MipmappedArrayHandle, Box<[ArrayHandle]>)> {
    let desc = sys::mipmapped_array_desc(info, T::FORMAT);
    // SAFETY: the memory is alive, `memory` holds it; this function's caller answers for the image.
    let array = unsafe { driver.map_array(handle, &desc) }?;
    let levels = (0..info.levels).map(|level| {
        // SAFETY: the array is alive, and its levels are kept beside it.
        unsafe { driver.array_level(array, level) }
    });
    match levels.collect() {
        Ok(levels) => Ok((array, levels)),
        Err(error) => {
            // SAFETY: nothing was done with the array but to ask for its levels.
            if let Err(error) = unsafe { driver.destroy_array(array) } {
                memory.keep();
                count_leak();
                let error = error.at(Object("image", memory.name()), memory.device().name());
                isolated(|| log::error!("{error}"));
            }
            Err(error)
        }
    }
}
