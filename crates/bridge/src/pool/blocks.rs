//! The blocks of a pool, and the byte ranges of buffers in them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytemuck::Pod;
use vk_export::{Block, Buffer};

use super::ranges::{AllocatedRange, Ranges};
use crate::compute::mapped::{Container, ContainerRef, Mapped};
use crate::compute::mappings::{BlockMapping, BufferMapping};
use crate::error::{Error, Result};
use crate::observe::object::Object;

/// The blocks of a pool.
pub(super) struct Blocks {
    pub(super) list: Vec<Entry>,
    /// Number of blocks that were ever requested, which is the number of the next one.
    pub(super) requested_count: usize,
}

/// A block, and the allocation state of its bytes.
pub(super) struct Entry {
    pub(super) block: Arc<PoolBlock>,
    pub(super) ranges: Ranges,
}

impl Entry {
    /// Returns `true` if the block contains no buffers.
    fn is_empty(&self) -> bool {
        self.ranges.live() == 0
    }
}

/// One allocation, with its mapping on the compute side.
#[derive(Debug)]
pub(super) struct PoolBlock {
    pub(super) mapping: Mapped<BlockMapping, VulkanBlock>,
    pub(super) vulkan: Arc<VulkanBlock>,
}

/// Vulkan's half of a block.
#[derive(Debug)]
pub(super) struct VulkanBlock {
    pub(super) vulkan: Arc<Block>,
    pub(super) object: Object,
}

impl AsRef<Object> for VulkanBlock {
    fn as_ref(&self) -> &Object {
        &self.object
    }
}

impl Container for VulkanBlock {
    fn note_leaked(&self) {
        self.object.note_leaked();
    }
}

impl Container for PoolBlock {
    fn note_leaked(&self) {
        self.vulkan.note_leaked();
    }
}

impl PoolBlock {
    pub(super) fn vulkan(&self) -> &Arc<Block> {
        &self.vulkan.vulkan
    }
}

/// The byte range of a buffer in a block, which is freed when this is dropped. It keeps only
/// Vulkan's half of the block alive, since a lease may keep it: the buffer's mapping keeps the
/// mapping of the block.
pub(crate) struct PoolRange {
    /// `Some` until dropped.
    pub(super) taken: Option<AllocatedRange>,
    pub(super) block: Arc<VulkanBlock>,
    /// Does not keep the pool alive: without the pool, the bytes cannot be reused, so they need not
    /// be freed.
    pub(super) blocks: Weak<Mutex<Blocks>>,
}

impl PoolRange {
    /// Returns the block that contains the bytes.
    pub(crate) fn block(&self) -> &Arc<Block> {
        &self.block.vulkan
    }

    /// Returns Vulkan's half of the block, for counting it as leaked.
    pub(super) fn container(&self) -> Weak<dyn Container> {
        let block: Arc<dyn Container> = self.block.clone();
        Arc::downgrade(&block)
    }

    /// Maps `len` elements of the buffer in this range. Requires that the pool still exists. Also
    /// returns the object that must outlive the mapping.
    pub(crate) fn map<T: Pod>(&self, buffer: &Buffer, len: usize) -> Result<(BufferMapping<T>, Option<ContainerRef>)> {
        let blocks = self.blocks.upgrade();
        let block = blocks.and_then(|blocks| lock(&blocks).find(&self.block).map(|entry| Arc::clone(&entry.block)));
        let gone = || Error::invalid(format!("{self:?}"), "its pool is gone");
        let block = block.ok_or_else(gone)?;
        let mapping = block.mapping.map_part(buffer, self.offset(), len)?;
        let whole: ContainerRef = block;
        Ok((mapping, Some(whole)))
    }

    /// Returns the offset in the block, in bytes.
    pub(crate) fn offset(&self) -> u64 {
        self.taken.as_ref().map_or(0, AllocatedRange::offset)
    }
}

impl Drop for PoolRange {
    fn drop(&mut self) {
        let Some(blocks) = self.blocks.upgrade() else { return };
        let released = lock(&blocks).release(&self.block, self.taken.take());
        // Dropped without holding the lock: freeing a mapping waits for the GPU.
        drop(released);
    }
}

impl Blocks {
    fn find(&self, block: &Arc<VulkanBlock>) -> Option<&Entry> {
        self.list.iter().find(|entry| Arc::ptr_eq(&entry.block.vulkan, block))
    }

    /// Returns the number for a new block.
    pub(super) fn number(&mut self) -> usize {
        let number = self.requested_count;
        self.requested_count += 1;
        number
    }

    /// Frees the bytes of a buffer. Returns the blocks that are no longer needed: there may be
    /// several, if threads that found no room at the same time each created one.
    fn release(&mut self, block: &Arc<VulkanBlock>, taken: Option<AllocatedRange>) -> Vec<Entry> {
        let entry = self.list.iter_mut().find(|entry| Arc::ptr_eq(&entry.block.vulkan, block));
        if let Some((entry, taken)) = entry.zip(taken) {
            entry.ranges.free(taken);
        }
        // One empty block is kept for reuse.
        let Some(spare) = self.list.iter().position(Entry::is_empty) else { return Vec::new() };
        let mut index = 0..;
        self.list.extract_if(.., |entry| index.next() != Some(spare) && entry.is_empty()).collect()
    }
}

pub(super) fn lock(blocks: &Mutex<Blocks>) -> MutexGuard<'_, Blocks> {
    // No operation under this lock panics halfway through a change of the list.
    blocks.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for PoolRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PoolRange(\"{}\" at {})", self.block.vulkan.name(), self.offset())
    }
}
