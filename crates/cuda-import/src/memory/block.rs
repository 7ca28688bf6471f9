//! Imported memory that is mapped once, for many typed arrays.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cudarc::driver::CudaStream;
use cudarc::driver::sys::CUdeviceptr;

use crate::error::{Error, Object, Result};
use crate::memory::ImportedMemory;
use crate::memory::linear::LinearMapping;
use crate::memory::mapping::{Backing, Mapping};
use crate::stream::order::several::Orders;

/// A whole imported allocation under one mapping, in which many
/// [`MappedBuffer`](crate::MappedBuffer)s lie: one import and one mapping for all of them. Each
/// part keeps the block. Any thread may use it.
///
/// Once nothing holds it, it is freed as a [`MappedBuffer`](crate::MappedBuffer) is.
#[derive(Debug)]
pub struct MappedBlock {
    mapping: Mapping<LinearMapping>,
    /// The byte ranges of the parts, by start; no two overlap.
    taken: Mutex<BTreeMap<u64, u64>>,
}

impl MappedBlock {
    /// Maps all of `memory`. Nothing else may be mapped in it.
    ///
    /// `home` is the stream whose work is waited for before the block is freed; parts have home
    /// streams of their own.
    ///
    /// # Errors
    /// As [`MappedBuffer::map`](crate::MappedBuffer::map).
    #[doc(alias = "cuExternalMemoryGetMappedBuffer")]
    pub fn map(memory: &Arc<ImportedMemory>, home: &Arc<CudaStream>) -> Result<Arc<Self>> {
        Self::map_on(memory, std::slice::from_ref(home))
    }

    /// [`map`](Self::map) with a home stream on each device, as
    /// [`MappedBuffer::map_on`](crate::MappedBuffer::map_on).
    ///
    /// # Errors
    /// As [`map`](Self::map).
    pub fn map_on(memory: &Arc<ImportedMemory>, homes: &[Arc<CudaStream>]) -> Result<Arc<Self>> {
        let orders = Orders::new(homes, memory, &memory.object())?;
        let whole = LinearMapping::map(memory, 0, memory.allocation_size())?;
        let mapping = Mapping::new(whole, orders);
        let block = Arc::new(Self { mapping, taken: Mutex::new(BTreeMap::new()) });
        memory.log_mapped(&(0..memory.allocation_size()));
        Ok(block)
    }

    /// Returns the size in bytes.
    pub fn size(&self) -> u64 {
        self.memory().allocation_size()
    }

    /// Parts that are alive, and those that were leaked because they were in use.
    pub fn parts(&self) -> usize {
        self.taken().len()
    }

    /// Returns the mapped memory. Lent: nothing else can be mapped from it with this.
    pub fn memory(&self) -> &ImportedMemory {
        self.imported()
    }

    pub(crate) fn imported(&self) -> &Arc<ImportedMemory> {
        self.mapping.backing().memory()
    }

    /// Frees the block, as dropping the last owner does, and returns the error.
    ///
    /// # Errors
    /// As [`MappedBuffer::close`](crate::MappedBuffer::close).
    pub fn close(self) -> Result<()> {
        self.mapping.close()
    }

    /// Assumes that nothing uses the block, for its own stream, as
    /// [`MappedBuffer::assume_idle`](crate::MappedBuffer::assume_idle) does for a buffer's.
    ///
    /// # Safety
    /// All work that uses any part of the block has ended.
    #[allow(unsafe_code)]
    pub unsafe fn assume_idle(&self) {
        // SAFETY: the caller says so.
        unsafe { self.mapping.assume_idle() }
    }

    /// Returns the device address of the first byte.
    pub fn as_raw(&self) -> CUdeviceptr {
        self.mapping.backing().pointer()
    }

    /// Claims bytes that no other part has.
    pub(crate) fn take(&self, range: &Range<u64>) -> Result<()> {
        let mut taken = self.taken();
        if let Some((&start, &end)) = taken.range(..range.end).next_back()
            && end > range.start
        {
            return Err(Error::Overlap {
                object: self.memory().object().to_string(),
                offset: range.start,
                end: range.end,
                mapped: start..end,
            });
        }
        taken.insert(range.start, range.end);
        Ok(())
    }

    /// Gives claimed bytes back.
    pub(crate) fn give_back(&self, range: &Range<u64>) {
        self.taken().remove(&range.start);
    }

    /// Names a part in errors.
    pub(crate) fn object(&self) -> Object<'_> {
        Object("a part of block", self.memory().name())
    }

    fn taken(&self) -> MutexGuard<'_, BTreeMap<u64, u64>> {
        // Nothing under this lock can leave the map half changed.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
