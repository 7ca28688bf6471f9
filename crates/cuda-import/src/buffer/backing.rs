//! The memory of a buffer's elements: its own mapping, or a range of a mapped block.
//!
//! Unsafe because it frees.
#![allow(unsafe_code)]

use std::ops::Range;
use std::sync::Arc;

use crate::error::{Object, Result};
use crate::memory::ImportedMemory;
use crate::memory::block::MappedBlock;
use crate::memory::linear::LinearMapping;
use crate::memory::mapping::Backing;

#[derive(Debug)]
pub(crate) enum BufferBacking {
    /// A mapping that the buffer frees.
    Own(LinearMapping),
    /// A range of a block. The block frees the mapping; the buffer returns its range to the block.
    Part { range: Range<u64>, block: Arc<MappedBlock> },
}

impl BufferBacking {
    /// Returns the range in the memory, in bytes.
    pub(crate) fn range(&self) -> &Range<u64> {
        match self {
            Self::Own(mapping) => mapping.range(),
            Self::Part { range, .. } => range,
        }
    }
}

impl Backing for BufferBacking {
    fn memory(&self) -> &Arc<ImportedMemory> {
        match self {
            Self::Own(mapping) => mapping.memory(),
            Self::Part { block, .. } => block.imported(),
        }
    }

    fn object(&self) -> Object<'_> {
        match self {
            Self::Own(mapping) => mapping.object(),
            Self::Part { block, .. } => block.object(),
        }
    }

    unsafe fn release(&mut self) -> Result<()> {
        match self {
            // SAFETY: this function has the same contract.
            Self::Own(mapping) => unsafe { mapping.release() },
            Self::Part { range, block } => {
                block.release_part(range);
                Ok(())
            }
        }
    }

    fn leak(&mut self) {
        match self {
            Self::Own(mapping) => mapping.leak(),
            // The block stays mapped, and the range stays reserved in it.
            Self::Part { block, .. } => std::mem::forget(Arc::clone(block)),
        }
    }
}
