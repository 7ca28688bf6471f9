//! Imported memory that is mapped once, for many typed arrays.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cudarc::driver::CudaStream;
use cudarc::driver::sys::CUdeviceptr;

use crate::error::{Error, Object, Result};
use crate::memory::ImportedMemory;
use crate::memory::device_orders::DeviceOrders;
use crate::memory::linear::LinearMapping;
use crate::memory::mapping::{Backing, Mapping};

/// A whole imported allocation with one mapping, which contains many
/// [`MappedBuffer`](crate::MappedBuffer)s: one import and one mapping for all of them. Each part
/// keeps the block alive. It can be used from any thread.
///
/// After its last owner is dropped, it is freed like a [`MappedBuffer`](crate::MappedBuffer).
#[derive(Debug)]
pub struct MappedBlock {
    mapping: Mapping<LinearMapping>,
    /// The end of each part by its start, in bytes; no two parts overlap.
    parts: Mutex<BTreeMap<u64, u64>>,
}

impl MappedBlock {
    /// Maps all of `memory`. Nothing else may be mapped from it.
    ///
    /// `home` is the stream whose work is waited for before the block is freed; parts have their
    /// own home streams.
    ///
    /// Driver API: [`cuExternalMemoryGetMappedBuffer`][driver].
    ///
    /// # Errors
    /// Those of [`MappedBuffer::map`](crate::MappedBuffer::map).
    ///
    /// [driver]: https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__EXTRES__INTEROP.html
    #[doc(alias = "cuExternalMemoryGetMappedBuffer")]
    pub fn map(memory: &Arc<ImportedMemory>, home: &Arc<CudaStream>) -> Result<Arc<Self>> {
        Self::map_on(memory, std::slice::from_ref(home))
    }

    /// Like [`map`](Self::map), with a home stream on each device, see
    /// [`MappedBuffer::map_on`](crate::MappedBuffer::map_on).
    ///
    /// # Errors
    /// Those of [`map`](Self::map).
    pub fn map_on(memory: &Arc<ImportedMemory>, homes: &[Arc<CudaStream>]) -> Result<Arc<Self>> {
        let orders = DeviceOrders::new(homes, memory, &memory.object())?;
        let whole = LinearMapping::map(memory, 0, memory.allocation_size())?;
        let mapping = Mapping::new(whole, orders);
        let block = Arc::new(Self { mapping, parts: Mutex::new(BTreeMap::new()) });
        memory.log_mapped(&(0..memory.allocation_size()));
        Ok(block)
    }

    /// Returns the size in bytes.
    pub fn size(&self) -> u64 {
        self.memory().allocation_size()
    }

    /// Returns the number of parts that are alive, or were leaked because they were in use.
    pub fn parts(&self) -> usize {
        self.lock_parts().len()
    }

    /// Returns the mapped memory. Only a reference, so it cannot be used to map another object,
    /// which needs the `Arc`.
    pub fn memory(&self) -> &ImportedMemory {
        self.imported()
    }

    pub(crate) fn imported(&self) -> &Arc<ImportedMemory> {
        self.mapping.backing().memory()
    }

    /// Frees the block like dropping the last owner does, and returns the error.
    ///
    /// # Errors
    /// Those of [`MappedBuffer::close`](crate::MappedBuffer::close).
    pub fn close(self) -> Result<()> {
        self.mapping.close()
    }

    /// Declares that the next close or drop need not wait for the block's home streams, see
    /// [`MappedBuffer::assume_idle`](crate::MappedBuffer::assume_idle).
    ///
    /// # Safety
    /// All work that uses any part of the block has ended.
    #[allow(unsafe_code)]
    pub unsafe fn assume_idle(&self) {
        // SAFETY: guaranteed by the caller.
        unsafe { self.mapping.assume_idle() }
    }

    /// Returns the device address of the first byte.
    pub fn as_raw(&self) -> CUdeviceptr {
        self.mapping.backing().pointer()
    }

    /// Reserves a range that no other part occupies.
    pub(crate) fn reserve_part(&self, range: &Range<u64>) -> Result<()> {
        let mut parts = self.lock_parts();
        if let Some((&start, &end)) = parts.range(..range.end).next_back()
            && end > range.start
        {
            return Err(Error::Overlap {
                object: self.memory().object().to_string(),
                offset: range.start,
                end: range.end,
                mapped: start..end,
            });
        }
        parts.insert(range.start, range.end);
        Ok(())
    }

    /// Releases a reserved range.
    pub(crate) fn release_part(&self, range: &Range<u64>) {
        self.lock_parts().remove(&range.start);
    }

    /// Returns the name of a part for errors.
    pub(crate) fn object(&self) -> Object<'_> {
        Object("a part of block", self.memory().name())
    }

    fn lock_parts(&self) -> MutexGuard<'_, BTreeMap<u64, u64>> {
        // No code under this lock can leave the map half changed.
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
