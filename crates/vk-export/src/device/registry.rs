//! Registry of a device's live objects and allocated memory.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ash::vk;

use super::ExportDevice;
use crate::device::memory_types::heap_of;

/// The device memory that is allocated through an [`ExportDevice`], see
/// [`ExportDevice::allocated_bytes`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AllocatedBytes {
    /// Bytes in all heaps.
    pub total: u64,
    /// Bytes in each heap, by the index that `VkPhysicalDeviceMemoryProperties` gives it.
    pub by_heap: [u64; vk::MAX_MEMORY_HEAPS],
    /// The number of allocations, which count towards the device's `maxMemoryAllocationCount`.
    pub allocations: usize,
    /// Bytes of exportable [`Block`](crate::Block)s, which are not dedicated allocations. NVIDIA's
    /// driver compresses them, and kernels with random reads across several GiB of them are slow.
    pub in_exported_blocks: u64,
}

/// The live objects of a device, and the memory that they occupy.
#[derive(Default)]
pub(crate) struct Registry {
    objects: Mutex<Objects>,
    heaps: [AtomicU64; vk::MAX_MEMORY_HEAPS],
    allocations: AtomicUsize,
    in_exported_blocks: AtomicU64,
}

#[derive(Default)]
struct Objects {
    next: u64,
    alive: BTreeMap<u64, String>,
}

impl Registry {
    fn objects(&self) -> MutexGuard<'_, Objects> {
        // Only single map calls run under this lock, so a panic cannot leave a partial change.
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the descriptions of the objects, in order of creation.
    pub(crate) fn alive(&self) -> Vec<String> {
        self.objects().alive.values().cloned().collect()
    }

    pub(crate) fn allocations(&self) -> usize {
        self.allocations.load(Ordering::Relaxed)
    }
}

/// A clone of the device, held by an object made from it. The device lists the object until this is
/// dropped.
pub(crate) struct Registered {
    device: ExportDevice,
    id: u64,
}

impl ExportDevice {
    /// Registers an object; `object` is its description in errors.
    pub(crate) fn register(&self, object: &str) -> Registered {
        let object = object.to_owned();
        let mut objects = self.0.registry.objects();
        let id = objects.next;
        objects.next += 1;
        objects.alive.insert(id, object);
        Registered { device: self.clone(), id }
    }

    /// Returns the device memory that is currently allocated through this device and its clones:
    /// shared buffers, images and pools, including the driver's alignment, and memory that could
    /// not be freed. An engine adds it to its own budget; the driver's `VK_EXT_memory_budget`
    /// counts it as the process's.
    ///
    /// A device that is adopted twice counts each adoption separately.
    pub fn allocated_bytes(&self) -> AllocatedBytes {
        let registry = &self.0.registry;
        let by_heap = registry.heaps.each_ref().map(|heap| heap.load(Ordering::Relaxed));
        AllocatedBytes {
            total: by_heap.iter().sum(),
            by_heap,
            allocations: registry.allocations(),
            in_exported_blocks: registry.in_exported_blocks.load(Ordering::Relaxed),
        }
    }

    /// Counts an allocation.
    pub(crate) fn count_allocated(&self, memory_type: u32, size: u64) {
        self.0.registry.allocations.fetch_add(1, Ordering::Relaxed);
        if let Some(heap) = self.heap_of(memory_type) {
            heap.fetch_add(size, Ordering::Relaxed);
        }
    }

    /// Reverts [`count_allocated`](Self::count_allocated) when the allocation is freed.
    pub(crate) fn count_freed(&self, memory_type: u32, size: u64) {
        self.0.registry.allocations.fetch_sub(1, Ordering::Relaxed);
        if let Some(heap) = self.heap_of(memory_type) {
            heap.fetch_sub(size, Ordering::Relaxed);
        }
    }

    /// Counts the bytes of an exportable block.
    pub(crate) fn count_exported_block(&self, bytes: u64) {
        self.0.registry.in_exported_blocks.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Takes back what [`count_exported_block`](Self::count_exported_block) counted.
    pub(crate) fn count_freed_block(&self, bytes: u64) {
        self.0.registry.in_exported_blocks.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn heap_of(&self, memory_type: u32) -> Option<&AtomicU64> {
        let heap = heap_of(&self.physical().memory, memory_type)?;
        self.0.registry.heaps.get(usize::try_from(heap).ok()?)
    }
}

impl Deref for Registered {
    type Target = ExportDevice;

    fn deref(&self) -> &ExportDevice {
        &self.device
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let object = self.device.0.registry.objects().alive.remove(&self.id);
        // Free the text after the lock is released.
        drop(object);
    }
}

impl std::fmt::Debug for Registered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.device.fmt(f)
    }
}
