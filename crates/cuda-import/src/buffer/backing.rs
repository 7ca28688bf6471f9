//! What a buffer's elements lie in: a mapping of its own, or a range of a mapped block.
//!
//! Unsafe because it frees.
#![allow(unsafe_code)]

use std::ops::Range;
use std::sync::Arc;

use cudarc::driver::sys::CUdeviceptr;

use crate::error::{Error, Object};
use crate::memory::ImportedMemory;
use crate::memory::block::MappedBlock;
use crate::memory::mapping::Backing;

#[derive(Debug)]
pub(crate) enum BufferBacking {
    /// Last, the memory: destroying it frees no mapping, so the mapping must be gone by then.
    Own { pointer: CUdeviceptr, range: Range<u64>, memory: Arc<ImportedMemory> },
    /// The block keeps its mapping.
    Part { range: Range<u64>, block: Arc<MappedBlock> },
}

impl BufferBacking {
    /// In bytes, in the memory.
    pub(crate) fn range(&self) -> &Range<u64> {
        match self {
            Self::Own { range, .. } | Self::Part { range, .. } => range,
        }
    }
}

impl Backing for BufferBacking {
    fn memory(&self) -> &Arc<ImportedMemory> {
        match self {
            Self::Own { memory, .. } => memory,
            Self::Part { block, .. } => block.imported(),
        }
    }

    fn object(&self) -> Object<'_> {
        match self {
            Self::Own { memory, .. } => Object("buffer", memory.name()),
            Self::Part { block, .. } => block.object(),
        }
    }

    unsafe fn release(&mut self) -> Result<(), Error> {
        match self {
            Self::Own { pointer, range, memory } => {
                let pointer = *pointer;
                memory.unmap(range, move |driver| {
                    // SAFETY: this function is called once, so the pointer is a mapping that was not freed; the caller
                    // vouches for its use. Where this runs late, `keep` has kept the memory.
                    unsafe { driver.free(pointer) }
                })
            }
            Self::Part { range, block } => {
                block.give_back(range);
                Ok(())
            }
        }
    }

    fn keep(&mut self) {
        match self {
            Self::Own { memory, .. } => memory.keep(),
            // The block stays mapped, and these bytes stay claimed in it.
            Self::Part { block, .. } => std::mem::forget(Arc::clone(block)),
        }
    }
}
