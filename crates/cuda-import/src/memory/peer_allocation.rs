//! An allocation that several GPUs may access, and its mapping.
//!
//! Contains unsafe code because it maps memory.
#![allow(unsafe_code)]

use std::sync::Arc;

use cudarc::driver::sys::{CUdevice, CUdeviceptr};

use crate::device::CudaDevice;
use crate::leak::count_leak;
use crate::logging::log_error;
use crate::memory::ImportedMemory;
use crate::sys::{AllocationHandle, CallError, CallResult, Vmm};

/// The handle of an allocation, and the devices with access to it.
#[derive(Debug)]
pub(crate) struct PeerAllocation {
    handle: AllocationHandle,
    vmm: Vmm,
    /// Size in bytes.
    size: usize,
    /// The driver's handles of all devices with access.
    access: Box<[CUdevice]>,
    /// All devices with access except the first.
    others: Box<[CudaDevice]>,
}

impl PeerAllocation {
    pub(crate) fn new(
        handle: AllocationHandle,
        vmm: Vmm,
        size: usize,
        access: Box<[CUdevice]>,
        others: Box<[CudaDevice]>,
    ) -> Self {
        Self { handle, vmm, size, access, others }
    }

    pub(crate) fn others(&self) -> &[CudaDevice] {
        &self.others
    }

    pub(crate) fn vmm(&self) -> Vmm {
        self.vmm
    }

    pub(crate) fn handle(&self) -> AllocationHandle {
        self.handle
    }

    /// Returns the size in bytes.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Maps all of `memory`, of which this is the origin, for all devices. On an error nothing is
    /// mapped.
    pub(crate) fn map(&self, memory: &Arc<ImportedMemory>) -> CallResult<CUdeviceptr> {
        let (vmm, size) = (self.vmm, self.size);
        let address = vmm.reserve(size)?;
        // SAFETY: the range was just reserved; `memory` keeps the handle alive, which has `size`
        // bytes.
        if let Err(error) = unsafe { vmm.map(address, size, self.handle) } {
            self.free_address(memory, address);
            return Err(error);
        }
        // SAFETY: mapped above, at this range.
        if let Err(error) = unsafe { vmm.set_access(address, size, &self.access) } {
            // SAFETY: mapped above; the address was not passed on, and no device has access.
            match unsafe { vmm.unmap(address, size) } {
                Ok(()) => self.free_address(memory, address),
                Err(error) => leak_mapping(memory, error),
            }
            return Err(error);
        }
        Ok(address)
    }

    /// Frees a reserved address that is not mapped.
    fn free_address(&self, memory: &Arc<ImportedMemory>, address: CUdeviceptr) {
        // SAFETY: reserved with this size, and not mapped.
        if let Err(error) = unsafe { self.vmm.free_address(address, self.size) } {
            leak_mapping(memory, error);
        }
    }
}

/// Leaks the memory and logs the error, after undoing a failed mapping failed as well.
fn leak_mapping(memory: &Arc<ImportedMemory>, error: CallError) {
    memory.leak();
    count_leak();
    let error = error.at(memory.object(), memory.device().name());
    log_error!("{error}");
}
