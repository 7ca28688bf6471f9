//! Memory of a buffer's elements: a mapping of its own, or a range of a mapped block.
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
    /// The buffer frees it.
    Own(LinearMapping),
    /// The block keeps its mapping; the buffer gives its bytes back.
    Part { range: Range<u64>, block: Arc<MappedBlock> },
}

impl BufferBacking {
    /// In bytes, in the memory.
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
            // SAFETY: the same contract.
            Self::Own(mapping) => unsafe { mapping.release() },
            Self::Part { range, block } => {
                block.give_back(range);
                Ok(())
            }
        }
    }

    fn keep(&mut self) {
        match self {
            Self::Own(mapping) => mapping.keep(),
            // The block stays mapped, and these bytes stay claimed in it.
            Self::Part { block, .. } => std::mem::forget(Arc::clone(block)),
        }
    }
}
