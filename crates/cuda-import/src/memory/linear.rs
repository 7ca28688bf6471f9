//! A linear range of imported memory under a mapping of its own.
//!
//! Unsafe because it maps and frees.
#![allow(unsafe_code)]

use std::ops::Range;
use std::sync::Arc;

use cudarc::driver::sys::CUdeviceptr;

use crate::error::{Error, Object};
use crate::memory::ImportedMemory;
use crate::memory::mapping::Backing;

/// Dropping it frees nothing: [`Backing::release`] does.
#[derive(Debug)]
pub(crate) struct LinearMapping {
    pointer: CUdeviceptr,
    /// In bytes, in the memory.
    range: Range<u64>,
    /// Last: destroying it frees no mapping, so the mapping must be gone by then.
    memory: Arc<ImportedMemory>,
}

impl LinearMapping {
    /// Maps `size` bytes at `offset`, which nothing else has mapped.
    pub(crate) fn map(memory: &Arc<ImportedMemory>, offset: u64, size: u64) -> Result<Self, Error> {
        let (pointer, range) = memory.map(offset, size, |driver, handle| {
            // SAFETY: "the offset and size must be within the imported object" was checked by `map`; the result holds an Arc of
            // the memory and frees the pointer first.
            unsafe { driver.map_buffer(handle, offset, size) }
        })?;
        Ok(Self { pointer, range, memory: Arc::clone(memory) })
    }

    /// The device address of the first byte.
    pub(crate) fn pointer(&self) -> CUdeviceptr {
        self.pointer
    }

    pub(crate) fn range(&self) -> &Range<u64> {
        &self.range
    }
}

impl Backing for LinearMapping {
    fn memory(&self) -> &Arc<ImportedMemory> {
        &self.memory
    }

    fn object(&self) -> Object<'_> {
        Object("buffer", self.memory.name())
    }

    unsafe fn release(&mut self) -> Result<(), Error> {
        let pointer = self.pointer;
        self.memory.unmap(&self.range, "cuMemFree", move |driver| {
            // SAFETY: `release` is called once, so the pointer is a mapping that was not freed; the caller vouches for its use.
            // Where this runs late, `keep` has kept the memory.
            unsafe { driver.free(pointer) }
        })
    }

    fn keep(&mut self) {
        self.memory.keep();
    }
}
