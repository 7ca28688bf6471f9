//! Memory that another API allocated and exported.
//!
//! Contains unsafe code because the driver does not validate the import parameters.

#![allow(unsafe_code)]
pub(crate) mod block;
pub(crate) mod device_memory;
pub(crate) mod device_orders;
pub(crate) mod linear;
pub(crate) mod mapping;
pub(crate) mod origin;
pub(crate) mod peer;
mod peer_allocation;

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::device::CudaDevice;
use crate::error::{Error, Object, Result};
use crate::handle::{ImportHandle, import_with};
use crate::leak::count_leak;
use crate::logging::{log_error, log_trace};
use crate::memory::origin::Origin;
use crate::reaper;
use crate::sys::{CallResult, Driver};

/// Description of the memory by the exporting API.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryImportInfo<'a> {
    /// The name in errors, logs and traces. Default: empty.
    pub name: &'a str,
    /// Size of the whole allocation in bytes, as passed to the call that allocated it; not the size
    /// of a buffer inside. Default: 0, which is rejected.
    pub allocation_size: u64,
    /// `true` if the allocation is a dedicated one. Default: no.
    #[doc(alias = "CUDA_EXTERNAL_MEMORY_DEDICATED")]
    pub dedicated: bool,
}

/// An imported allocation. Buffers and images are mapped from it, and each keeps it alive. It can
/// be used from any thread.
///
/// See "Importing Memory Objects" in the [CUDA programming guide][guide].
///
/// [guide]: https://docs.nvidia.com/cuda/cuda-c-programming-guide/index.html#external-resource-interoperability
#[doc(alias = "CUexternalMemory")]
#[derive(Debug)]
pub struct ImportedMemory {
    origin: Origin,
    device: CudaDevice,
    name: Box<str>,
    allocation_size: u64,
    dedicated: bool,
    /// The byte ranges that are currently mapped; no two overlap.
    mapped: Mutex<Vec<Range<u64>>>,
}

impl ImportedMemory {
    /// Imports an opaque handle. On success the CUDA driver owns a descriptor; on failure it is
    /// closed here. An NT handle is closed here in both cases. See [`ImportHandle`] for each kind
    /// of handle.
    ///
    /// Driver API: [`cuImportExternalMemory`][driver].
    ///
    /// # Errors
    /// [`Error::Zero`] for an `allocation_size` of 0; [`Error::Driver`] if the driver call fails;
    /// on Windows, [`Error::InvalidHandle`] for a handle that is not open.
    ///
    /// # Safety
    /// The driver does not validate the parameters: an import with a wrong size or a wrong
    /// `dedicated` flag succeeds, and using such memory is undefined ("mappings must match those of
    /// the exporting API", CUDA guide, external memory).
    /// - `handle` is an opaque handle of memory that the same GPU exported, and not of another kind
    ///   of object.
    /// - `allocation_size` and `dedicated` are those of that allocation.
    /// - While views of its buffers are used, or work enqueued through them is pending, the
    ///   exporting API neither writes the memory nor reads the parts that are written here;
    ///   semaphores order the two.
    ///
    /// [driver]: https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__EXTRES__INTEROP.html
    #[doc(alias = "cuImportExternalMemory")]
    pub unsafe fn import(
        device: &CudaDevice,
        handle: impl Into<ImportHandle>,
        info: &MemoryImportInfo<'_>,
    ) -> Result<Arc<Self>> {
        let (handle, object) = (handle.into(), Object("memory", info.name));
        if info.allocation_size == 0 {
            return Err(Error::Zero { object: object.to_string(), what: "allocation size" });
        }
        device.check_recorded()?;
        let handle = import_with(handle, &object, device.name(), |raw| {
            let _current = device.bind()?;
            // SAFETY: `import_with` keeps `raw` open; this function's caller guarantees its origin,
            // size and flag.
            unsafe { device.driver().import_memory(raw, info.allocation_size, info.dedicated) }
        })?;
        let imported = Self::new(Origin::External(handle), device, info);
        log_trace!("import {object}: {} bytes, dedicated {}", info.allocation_size, info.dedicated);
        Ok(imported)
    }

    fn new(origin: Origin, device: &CudaDevice, info: &MemoryImportInfo<'_>) -> Arc<Self> {
        Arc::new(Self {
            origin,
            device: device.clone(),
            name: info.name.into(),
            allocation_size: info.allocation_size,
            dedicated: info.dedicated,
            mapped: Mutex::new(Vec::new()),
        })
    }

    /// Returns the name in errors, logs and traces.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the size of the whole allocation in bytes.
    pub fn allocation_size(&self) -> u64 {
        self.allocation_size
    }

    /// Returns `true` if the allocation is a dedicated one.
    pub fn is_dedicated(&self) -> bool {
        self.dedicated
    }

    /// Returns the device on which the memory was imported: the GPU that it is on, or the first of
    /// the [`devices`](Self::devices).
    pub fn device(&self) -> &CudaDevice {
        &self.device
    }

    /// Returns the devices whose kernels may access the memory: [`device`](Self::device), and the
    /// others that were passed to [`import_peer`](Self::import_peer).
    pub fn devices(&self) -> impl Iterator<Item = &CudaDevice> {
        std::iter::once(&self.device).chain(self.origin.others())
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(crate) fn object(&self) -> Object<'_> {
        Object("memory", &self.name)
    }

    /// Reserves `size` bytes at `offset` and calls `map` to map them, with the context current. The
    /// mapping must be freed with [`unmap`](Self::unmap) and the same range.
    pub(crate) fn map<M>(
        &self,
        offset: u64,
        size: u64,
        map: impl FnOnce(Driver) -> CallResult<M>,
    ) -> Result<(M, Range<u64>)> {
        let range = range_within(self, offset, size)?;
        self.device.check_recorded()?;
        // Reserved before the call, and not under the lock, because `map` may call the logger.
        self.reserve_range(&range)?;
        let mapping = self.device.bind().and_then(|_current| map(self.device.driver()));
        let mapping = mapping.map_err(|error| {
            self.release_range(&range);
            error.at(self.object(), self.device.name())
        })?;
        Ok((mapping, range))
    }

    /// Calls `unmap`, whose last driver call is `name`, to free the mapping of `range`, with the
    /// context current. On an error the range stays reserved; `unmap` may still be running then, so
    /// the memory must stay alive.
    pub(crate) fn unmap(
        &self,
        range: &Range<u64>,
        name: &'static str,
        unmap: impl FnOnce(Driver) -> CallResult<()> + Send + 'static,
    ) -> Result<()> {
        reaper::call(&self.device, name, unmap).map_err(|error| error.at(&self.object(), self.device.name()))?;
        self.release_range(range);
        log_trace!("unmap {}: bytes {}..{}", self.object(), range.start, range.end);
        Ok(())
    }

    /// Logs a mapping by [`map`](Self::map), after it has an owner.
    pub(crate) fn log_mapped(&self, range: &Range<u64>) {
        log_trace!("map {}: bytes {}..{}", self.object(), range.start, range.end);
    }

    fn reserve_range(&self, range: &Range<u64>) -> Result<()> {
        let mut mapped = self.mapped();
        if let Some(other) = mapped.iter().find(|other| overlap(other, range)) {
            return Err(Error::Overlap {
                object: self.object().to_string(),
                offset: range.start,
                end: range.end,
                mapped: other.clone(),
            });
        }
        mapped.push(range.clone());
        Ok(())
    }

    fn release_range(&self, range: &Range<u64>) {
        self.mapped().retain(|other| other != range);
    }

    /// Leaks the memory, and with it the device and the context: for mappings that could not be
    /// freed and must not outlive them.
    pub(crate) fn leak(self: &Arc<Self>) {
        std::mem::forget(Arc::clone(self));
    }

    fn mapped(&self) -> MutexGuard<'_, Vec<Range<u64>>> {
        // No code under this lock can leave the list half changed.
        self.mapped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ImportedMemory {
    fn drop(&mut self) {
        // SAFETY: every mapping holds an Arc of this memory until it is freed, so none is left; the
        // origin is not used after this drop.
        let destroyed = unsafe { self.origin.destroy(&self.device) };
        match destroyed {
            Ok(()) => log_trace!("destroy {}", self.object()),
            Err(error) => {
                count_leak();
                let error = error.at(&self.object(), self.device.name());
                log_error!("{error}");
            }
        }
    }
}

/// Returns `offset..offset + size` if it ends inside the memory.
pub(crate) fn range_within(memory: &ImportedMemory, offset: u64, size: u64) -> Result<Range<u64>> {
    range(offset, size, memory.allocation_size).ok_or_else(|| Error::OutOfRange {
        object: memory.object().to_string(),
        offset,
        size,
        allocation_size: memory.allocation_size,
    })
}

fn range(offset: u64, size: u64, allocation_size: u64) -> Option<Range<u64>> {
    let end = offset.checked_add(size)?;
    (end <= allocation_size).then_some(offset..end)
}

fn overlap(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_must_end_inside_the_allocation() {
        assert_eq!(range(0, 16, 16), Some(0..16));
        assert_eq!(range(8, 8, 16), Some(8..16));
        assert_eq!(range(8, 9, 16), None);
        assert_eq!(range(17, 1, 16), None);
        assert_eq!(range(u64::MAX, 2, u64::MAX), None);
    }

    #[test]
    fn touching_ranges_do_not_overlap() {
        assert!(!overlap(&(0..8), &(8..16)));
        assert!(!overlap(&(8..16), &(0..8)));
        assert!(overlap(&(0..9), &(8..16)));
        assert!(overlap(&(4..5), &(0..16)));
    }
}
