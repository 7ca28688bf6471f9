//! A linear range of imported memory with its own mapping.
//!
//! Contains unsafe code because it maps and frees.
#![allow(unsafe_code)]

use std::ops::Range;
use std::sync::Arc;

use cudarc::driver::sys::CUdeviceptr;

use crate::error::{Object, Result};
use crate::memory::mapping::Backing;
use crate::memory::origin::Origin;
use crate::memory::{ImportedMemory, range_within};

/// A linear mapping. Dropping it frees nothing; [`Backing::release`] does.
#[derive(Debug)]
pub(crate) struct LinearMapping {
    /// The address of the first byte of `range`.
    pointer: CUdeviceptr,
    /// The range in the memory, in bytes.
    range: Range<u64>,
    /// The mapped range: `range`, or the whole memory for [`Origin::Peer`].
    mapped: Range<u64>,
    /// Dropped last: destroying it frees no mapping, so the mapping must be freed before.
    memory: Arc<ImportedMemory>,
}

impl LinearMapping {
    /// Maps `size` bytes at `offset`, which must not be mapped yet.
    pub(crate) fn map(memory: &Arc<ImportedMemory>, offset: u64, size: u64) -> Result<Self> {
        let range = range_within(memory, offset, size)?;
        let (pointer, mapped) = match memory.origin() {
            &Origin::External(handle) => memory.map(offset, size, |driver| {
                // SAFETY: `map` has checked that "the offset and size must be within the imported
                // object"; the result holds an Arc of the memory and frees the pointer first.
                unsafe { driver.map_buffer(handle, offset, size) }
            })?,
            Origin::Peer(peer) => {
                let (start, mapped) = memory.map(0, memory.allocation_size(), |_| peer.map(memory))?;
                (start + offset, mapped)
            }
        };
        Ok(Self { pointer, range, mapped, memory: Arc::clone(memory) })
    }

    /// Returns the device address of the first byte.
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

    unsafe fn release(&mut self) -> Result<()> {
        let pointer = self.pointer;
        match self.memory.origin() {
            Origin::External(_) => self.memory.unmap(&self.mapped, "cuMemFree", move |driver| {
                // SAFETY: `release` is called once, so the pointer is a mapping that was not freed;
                // the caller guarantees that it is no longer used. If this runs late, `leak` has
                // kept the memory.
                unsafe { driver.free(pointer) }
            }),
            Origin::Peer(peer) => {
                let (vmm, start, size) = (peer.vmm(), pointer - self.range.start, peer.size());
                self.memory.unmap(&self.mapped, "cuMemUnmap", move |_| {
                    // SAFETY: as above; the whole memory was mapped, at the address of its first
                    // byte.
                    unsafe { vmm.unmap(start, size) }?;
                    // SAFETY: it was reserved with this size, and is no longer mapped.
                    unsafe { vmm.free_address(start, size) }
                })
            }
        }
    }

    fn leak(&mut self) {
        self.memory.leak();
    }
}
