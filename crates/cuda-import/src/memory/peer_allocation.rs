//! An allocation that several GPUs may access, and its mapping.
//!
//! Unsafe because it maps memory.
#![allow(unsafe_code)]

use std::sync::Arc;

use cudarc::driver::sys::{CUdevice, CUdeviceptr};

use crate::device::CudaDevice;
use crate::leak::count_leak;
use crate::logging::log_error;
use crate::memory::ImportedMemory;
use crate::sys::{AllocationHandle, CallError, CallResult, Vmm};

/// An allocation by handle, and who may access it.
#[derive(Debug)]
pub(crate) struct PeerAllocation {
    handle: AllocationHandle,
    vmm: Vmm,
    /// In bytes.
    size: usize,
    /// All devices with access, as the driver numbers them.
    access: Box<[CUdevice]>,
    /// All but the first.
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

    /// In bytes.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Maps all of `memory`, whose origin this is, for all devices. On an error nothing is mapped.
    pub(crate) fn map(&self, memory: &Arc<ImportedMemory>) -> CallResult<CUdeviceptr> {
        let (vmm, size) = (self.vmm, self.size);
        let address = vmm.reserve(size)?;
        // SAFETY: the range was just reserved; `memory` keeps the handle, which is of `size` bytes.
        if let Err(error) = unsafe { vmm.map(address, size, self.handle) } {
            self.free_address(memory, address);
            return Err(error);
        }
        // SAFETY: mapped above, at this range.
        if let Err(error) = unsafe { vmm.set_access(address, size, &self.access) } {
            // SAFETY: mapped above; nobody else knows the address, and none has access.
            match unsafe { vmm.unmap(address, size) } {
                Ok(()) => self.free_address(memory, address),
                Err(error) => left(memory, error),
            }
            return Err(error);
        }
        Ok(address)
    }

    /// Frees an address that was not mapped after all.
    fn free_address(&self, memory: &Arc<ImportedMemory>, address: CUdeviceptr) {
        // SAFETY: reserved with this size, and nothing is mapped there.
        if let Err(error) = unsafe { self.vmm.free_address(address, self.size) } {
            left(memory, error);
        }
    }
}

/// Something of a mapping that was given up could not be undone.
fn left(memory: &Arc<ImportedMemory>, error: CallError) {
    memory.keep();
    count_leak();
    let error = error.at(memory.object(), memory.device().name());
    log_error!("{error}");
}
