//! The blocks of a pool, and the bytes that buffers have in them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytemuck::Pod;
use vk_export::{Block, Buffer};

use super::ranges::{Ranges, Taken};
use crate::compute::mapped::{Container, Mapped, Whole};
use crate::compute::mappings::{BlockMapping, BufferMapping};
use crate::error::{Error, Result};
use crate::observe::object::Object;

/// The blocks of a pool.
pub(super) struct Blocks {
    pub(super) list: Vec<Entry>,
    /// Blocks that were ever begun; the next one's number.
    pub(super) begun: usize,
}

/// A block, and which bytes of it are whose.
pub(super) struct Entry {
    pub(super) block: Arc<PoolBlock>,
    pub(super) ranges: Ranges,
}

impl Entry {
    /// Returns `true` if it has no buffers.
    fn is_spare(&self) -> bool {
        self.ranges.live() == 0
    }
}

/// One allocation, on both sides.
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

/// A buffer's bytes in a block; free again once this is dropped. It keeps Vulkan's half of the
/// block alone, since a lease may keep it: the buffer's mapping keeps that of the block.
pub(crate) struct PoolRange {
    /// Taken out when dropped.
    pub(super) taken: Option<Taken>,
    pub(super) block: Arc<VulkanBlock>,
    /// Where nobody has the pool any more, nobody else can have the bytes.
    pub(super) blocks: Weak<Mutex<Blocks>>,
}

impl PoolRange {
    /// The block that the bytes are in.
    pub(crate) fn block(&self) -> &Arc<Block> {
        &self.block.vulkan
    }

    /// Vulkan's half of the block, for what counts it as leaked.
    pub(super) fn container(&self) -> Weak<dyn Container> {
        let block: Arc<dyn Container> = self.block.clone();
        Arc::downgrade(&block)
    }

    /// Maps `len` elements of the buffer that has the bytes, while the pool lives. With it comes
    /// what has to outlive the mapping.
    pub(crate) fn map<T: Pod>(&self, buffer: &Buffer, len: usize) -> Result<(BufferMapping<T>, Option<Whole>)> {
        let blocks = self.blocks.upgrade();
        let block = blocks.and_then(|blocks| lock(&blocks).find(&self.block).map(|entry| Arc::clone(&entry.block)));
        let gone = || Error::invalid(format!("{self:?}"), "its pool is gone");
        let block = block.ok_or_else(gone)?;
        let mapping = block.mapping.map_part(buffer, self.offset(), len)?;
        let whole: Whole = block;
        Ok((mapping, Some(whole)))
    }

    /// Offset, in bytes.
    pub(crate) fn offset(&self) -> u64 {
        self.taken.as_ref().map_or(0, Taken::offset)
    }
}

impl Drop for PoolRange {
    fn drop(&mut self) {
        let Some(blocks) = self.blocks.upgrade() else { return };
        let released = lock(&blocks).give_back(&self.block, self.taken.take());
        // Outside of the lock: freeing a mapping waits for the GPU.
        drop(released);
    }
}

impl Blocks {
    fn find(&self, block: &Arc<VulkanBlock>) -> Option<&Entry> {
        self.list.iter().find(|entry| Arc::ptr_eq(&entry.block.vulkan, block))
    }

    /// The number of a block that is about to be made.
    pub(super) fn number(&mut self) -> usize {
        let number = self.begun;
        self.begun += 1;
        number
    }

    /// Makes a buffer's bytes free; gives the blocks that are needed no more. Threads that found no
    /// room at the same time have made more of them than one.
    fn give_back(&mut self, block: &Arc<VulkanBlock>, taken: Option<Taken>) -> Vec<Entry> {
        let entry = self.list.iter_mut().find(|entry| Arc::ptr_eq(&entry.block.vulkan, block));
        if let Some((entry, taken)) = entry.zip(taken) {
            entry.ranges.give_back(taken);
        }
        // One stays.
        let Some(spare) = self.list.iter().position(Entry::is_spare) else { return Vec::new() };
        let mut index = 0..;
        self.list.extract_if(.., |entry| index.next() != Some(spare) && entry.is_spare()).collect()
    }
}

pub(super) fn lock(blocks: &Mutex<Blocks>) -> MutexGuard<'_, Blocks> {
    // Nothing under this lock can leave the list half changed.
    blocks.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for PoolRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PoolRange(\"{}\" at {})", self.block.vulkan.name(), self.offset())
    }
}
