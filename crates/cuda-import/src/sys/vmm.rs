//! Virtual memory management: memory of another GPU, mapped for kernels of this one (`CUDA_VA`).
//!
//! Has a separate function table, so that everything else works with a driver that lacks these
//! functions. No function needs a current context: addresses belong to the process, and access to a
//! device.
//!
//! Contains unsafe code because it calls C.
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

/// `CUmemAccessDesc`: a location's type and ID, and flags. Defined here, because the bindings'
/// types are enums.
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

/// The handle of an allocation (`CUmemGenericAllocationHandle`). Does not own it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AllocationHandle(c_ulonglong);

/// Proof that the driver has these functions.
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
    /// Looks up the functions once per process. The error lists all missing ones.
    pub(crate) fn vmm(self) -> Result<Vmm, LoadError> {
        let table = TABLE.get_or_init(|| VmmTable::load().map_err(missing));
        table.as_ref().map(|table| Vmm { table }).map_err(Clone::clone)
    }
}

impl Vmm {
    /// Returns `true` if kernels of `device` may access the memory of `owner`; `false` if both are
    /// the same device.
    pub(crate) fn can_access_peer(self, device: cu::CUdevice, owner: cu::CUdevice) -> CallResult<bool> {
        let mut can = 0;
        // SAFETY: `can` receives the result; invalid devices are an error.
        let code = unsafe { (self.table.cuDeviceCanAccessPeer)(&mut can, device, owner) };
        check_call("cuDeviceCanAccessPeer", code)?;
        Ok(can != 0)
    }

    /// Imports the memory of a descriptor. The caller keeps ownership of the descriptor, with or
    /// without an error.
    ///
    /// # Safety
    /// `fd` is open and was exported from memory of this driver. The handle must be released with
    /// [`release`](Self::release).
    #[cfg(unix)]
    pub(crate) unsafe fn import(self, fd: std::os::fd::RawFd) -> CallResult<AllocationHandle> {
        let mut handle = 0;
        let raw = std::ptr::without_provenance_mut(fd as usize);
        // SAFETY: `handle` receives the result; for this type, the "OS handle" is the descriptor's
        // number; the caller guarantees its origin.
        let code = unsafe { (self.table.cuMemImportFromShareableHandle)(&mut handle, raw, POSIX_DESCRIPTOR) };
        check_call("cuMemImportFromShareableHandle", code)?;
        Ok(AllocationHandle(handle))
    }

    /// Reserves addresses, without mapping anything.
    pub(crate) fn reserve(self, size: usize) -> CallResult<cu::CUdeviceptr> {
        let mut address = 0;
        // SAFETY: `address` receives the result; 0 means the default alignment and any address.
        let code = unsafe { (self.table.cuMemAddressReserve)(&mut address, size, 0, 0, 0) };
        check_call("cuMemAddressReserve", code)?;
        Ok(address)
    }

    /// Maps a whole allocation, without access for any device.
    ///
    /// # Safety
    /// The range was reserved and has nothing mapped in it; `handle` is alive and has `size` bytes.
    pub(crate) unsafe fn map(self, address: cu::CUdeviceptr, size: usize, handle: AllocationHandle) -> CallResult<()> {
        // SAFETY: "offset must be 0, flags must be 0"; the caller guarantees the range and the
        // handle.
        check_call("cuMemMap", unsafe { (self.table.cuMemMap)(address, size, 0, handle.0, 0) })
    }

    /// Gives each device read and write access to the range.
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
        // SAFETY: `descs` has as many elements as the count; the caller guarantees the range.
        let code = unsafe { (self.table.cuMemSetAccess)(address, size, descs.as_ptr(), descs.len()) };
        check_call("cuMemSetAccess", code)
    }

    /// # Safety
    /// An allocation is mapped at exactly this range, and no work that uses it is pending or will
    /// follow, on any device.
    pub(crate) unsafe fn unmap(self, address: cu::CUdeviceptr, size: usize) -> CallResult<()> {
        // SAFETY: the range was mapped as a whole; the caller guarantees that it is no longer used.
        check_call("cuMemUnmap", unsafe { (self.table.cuMemUnmap)(address, size) })
    }

    /// # Safety
    /// The range was reserved as a whole and has nothing mapped in it.
    pub(crate) unsafe fn free_address(self, address: cu::CUdeviceptr, size: usize) -> CallResult<()> {
        // SAFETY: the caller guarantees the range.
        check_call("cuMemAddressFree", unsafe { (self.table.cuMemAddressFree)(address, size) })
    }

    /// # Safety
    /// `handle` is alive and not used again. Mappings of it stay valid.
    pub(crate) unsafe fn release(self, handle: AllocationHandle) -> CallResult<()> {
        // SAFETY: the caller guarantees the handle.
        check_call("cuMemRelease", unsafe { (self.table.cuMemRelease)(handle.0) })
    }
}
