//! Virtual memory management: memory of another GPU, mapped for kernels of this one (`CUDA_VA`).
//!
//! In a table of its own, so that a driver without these calls does all else. None of them needs a
//! current context: addresses are the process's, and access is a device's.
//!
//! Unsafe because it calls C.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_uint, c_ulonglong, c_void};
use std::sync::OnceLock;

use cudarc::driver::sys as cu;

use super::{CallResult, Driver, LoadError, check_call, lookup, missing, table};

table! {
    VmmTable and &[];
    cuDeviceCanAccessPeer(*mut c_int, cu::CUdevice, cu::CUdevice);
    #[cfg_attr(not(unix), allow(dead_code, reason = "only descriptors are known to work"))]
    cuMemImportFromShareableHandle(*mut c_ulonglong, *mut c_void, c_uint);
    cuMemAddressReserve(*mut cu::CUdeviceptr, usize, usize, cu::CUdeviceptr, c_ulonglong);
    cuMemMap(cu::CUdeviceptr, usize, usize, c_ulonglong, c_ulonglong);
    cuMemSetAccess(cu::CUdeviceptr, usize, *const AccessDesc, usize);
    cuMemUnmap(cu::CUdeviceptr, usize);
    cuMemAddressFree(cu::CUdeviceptr, usize);
    cuMemRelease(c_ulonglong);
}

/// `CUmemAccessDesc`: a location's type and id, and flags. Written out, since the binding's types
/// are enums.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct AccessDesc {
    location_type: c_uint,
    location_id: c_int,
    flags: c_uint,
}

const _: () = assert!(size_of::<AccessDesc>() == 12);

/// `CU_MEM_LOCATION_TYPE_DEVICE`
const LOCATION_DEVICE: c_uint = 1;
/// `CU_MEM_ACCESS_FLAGS_PROT_READWRITE`
const READ_WRITE: c_uint = 3;
/// `CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR`
#[cfg(unix)]
const POSIX_DESCRIPTOR: c_uint = 1;

/// An allocation by handle (`CUmemGenericAllocationHandle`). Names it; does not own it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AllocationHandle(c_ulonglong);

/// Proof that the driver has these calls.
#[derive(Clone, Copy)]
pub(crate) struct Vmm {
    table: &'static VmmTable,
}

impl std::fmt::Debug for Vmm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vmm")
    }
}

static TABLE: OnceLock<Result<VmmTable, LoadError>> = OnceLock::new();

impl Driver {
    /// Looks the calls up once for the process. The error names all that are missing.
    pub(crate) fn vmm(self) -> Result<Vmm, LoadError> {
        let table = TABLE.get_or_init(|| VmmTable::load().map_err(missing));
        table.as_ref().map(|table| Vmm { table }).map_err(Clone::clone)
    }
}

impl Vmm {
    /// Whether kernels of `device` may access memory of `owner`; false for one and the same.
    pub(crate) fn can_access_peer(self, device: cu::CUdevice, owner: cu::CUdevice) -> CallResult<bool> {
        let mut can = 0;
        // SAFETY: `can` is a valid place for the result; devices that are not there are an error.
        let code = unsafe { (self.table.cuDeviceCanAccessPeer)(&mut can, device, owner) };
        check_call("cuDeviceCanAccessPeer", code)?;
        Ok(can != 0)
    }

    /// Takes a reference to the memory behind a descriptor, which stays the caller's, whatever
    /// comes of it.
    ///
    /// # Safety
    /// `fd` is open and was exported from memory of this driver's. The handle goes back through
    /// [`release`](Self::release).
    #[cfg(unix)]
    pub(crate) unsafe fn import(self, fd: std::os::fd::RawFd) -> CallResult<AllocationHandle> {
        let mut handle = 0;
        let raw = std::ptr::without_provenance_mut(fd as usize);
        // SAFETY: `handle` is a valid place for the result; of this type, the "OS handle" is the
        // descriptor's number; the caller answers for what it is of.
        let code = unsafe { (self.table.cuMemImportFromShareableHandle)(&mut handle, raw, POSIX_DESCRIPTOR) };
        check_call("cuMemImportFromShareableHandle", code)?;
        Ok(AllocationHandle(handle))
    }

    /// Reserves addresses, which nothing is mapped at.
    pub(crate) fn reserve(self, size: usize) -> CallResult<cu::CUdeviceptr> {
        let mut address = 0;
        // SAFETY: `address` is a valid place for the result; 0 is the default alignment and no wish
        // for an address.
        let code = unsafe { (self.table.cuMemAddressReserve)(&mut address, size, 0, 0, 0) };
        check_call("cuMemAddressReserve", code)?;
        Ok(address)
    }

    /// Maps all of an allocation, which nobody can access yet.
    ///
    /// # Safety
    /// The range was reserved and has nothing mapped in it; `handle` is alive and has `size` bytes.
    pub(crate) unsafe fn map(self, address: cu::CUdeviceptr, size: usize, handle: AllocationHandle) -> CallResult<()> {
        // SAFETY: "offset must be 0, flags must be 0"; the caller answers for the range and the
        // handle.
        check_call("cuMemMap", unsafe { (self.table.cuMemMap)(address, size, 0, handle.0, 0) })
    }

    /// Lets each device read and write the range.
    ///
    /// # Safety
    /// An allocation is mapped at exactly this range.
    pub(crate) unsafe fn set_access(
        self,
        address: cu::CUdeviceptr,
        size: usize,
        devices: &[cu::CUdevice],
    ) -> CallResult<()> {
        let access = |&device| AccessDesc { location_type: LOCATION_DEVICE, location_id: device, flags: READ_WRITE };
        let descs: Vec<_> = devices.iter().map(access).collect();
        // SAFETY: there are as many descriptions as the count says; the caller answers for the
        // range.
        let code = unsafe { (self.table.cuMemSetAccess)(address, size, descs.as_ptr(), descs.len()) };
        check_call("cuMemSetAccess", code)
    }

    /// # Safety
    /// An allocation is mapped at exactly this range, and no work that uses it is pending or will
    /// follow, on any device.
    pub(crate) unsafe fn unmap(self, address: cu::CUdeviceptr, size: usize) -> CallResult<()> {
        // SAFETY: the range is one that was mapped as a whole; the caller answers for its use.
        check_call("cuMemUnmap", unsafe { (self.table.cuMemUnmap)(address, size) })
    }

    /// # Safety
    /// The range was reserved as a whole and has nothing mapped in it.
    pub(crate) unsafe fn free_address(self, address: cu::CUdeviceptr, size: usize) -> CallResult<()> {
        // SAFETY: the caller answers for the range.
        check_call("cuMemAddressFree", unsafe { (self.table.cuMemAddressFree)(address, size) })
    }

    /// # Safety
    /// `handle` is alive and not used again. What is mapped of it stays mapped.
    pub(crate) unsafe fn release(self, handle: AllocationHandle) -> CallResult<()> {
        // SAFETY: the caller answers for the handle.
        check_call("cuMemRelease", unsafe { (self.table.cuMemRelease)(handle.0) })
    }
}
