//! A device and memory to import, for tests that need a driver.
//!
//! The memory comes from CUDA's own virtual memory functions, whose descriptors the driver imports
//! like any other, so no second API is needed.

#![allow(dead_code, reason = "each test program uses its part")]

pub(crate) mod latch;

use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cuda_import::cudarc::driver::{CudaStream, sys};
use cuda_import::{
    BufferMappingInfo, CudaDevice, DriverCode, Error, ImportedMemory, MappedBuffer, MemoryImportInfo, report,
};
use test_support::{Need, skip};

/// The length of the buffers in elements.
pub(crate) const LEN: usize = 1 << 16;

/// Returns the device, and a guard that ensures that no other test runs, because descriptors are
/// counted. Returns `None` and skips the test if there is no device; a driver that exists but does
/// not start is a failure.
pub(crate) fn device() -> Option<(CudaDevice, MutexGuard<'static, ()>)> {
    static ALONE: Mutex<()> = Mutex::new(());
    // CUDA_ERROR_STUB_LIBRARY and CUDA_ERROR_NO_DEVICE.
    const NOTHING_THERE: [Option<DriverCode>; 2] = [Some(DriverCode(34)), Some(DriverCode(100))];
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    match report() {
        Ok(report) => Some((CudaDevice::by_uuid(report.devices[0].uuid).unwrap(), alone)),
        Err(why) => {
            let none = matches!(why, Error::NoDriver { .. }) || NOTHING_THERE.contains(&why.driver_code());
            assert!(none, "CUDA is here and does not start: {why}");
            skip(Need::Gpu, &why.to_string());
            None
        }
    }
}

/// Returns a new descriptor of new memory, and the size of its allocation: `size` rounded up.
fn export(device: &CudaDevice, size: usize) -> (OwnedFd, u64) {
    device.context().bind_to_thread().unwrap();
    let prop = sys::CUmemAllocationProp {
        type_: sys::CUmemAllocationType::CU_MEM_ALLOCATION_TYPE_PINNED,
        requestedHandleTypes: sys::CUmemAllocationHandleType::CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
        location: sys::CUmemLocation {
            type_: sys::CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE,
            id: i32::try_from(device.ordinal()).unwrap(),
        },
        win32HandleMetaData: std::ptr::null_mut(),
        allocFlags: sys::CUmemAllocationProp_st__bindgen_ty_1 {
            compressionType: 0,
            gpuDirectRDMACapable: 0,
            usage: 0,
            reserved: [0; 4],
        },
    };
    let flag = sys::CUmemAllocationGranularity_flags::CU_MEM_ALLOC_GRANULARITY_MINIMUM;
    let mut granularity = 0;
    // SAFETY: both pointers are valid for the call.
    unsafe { sys::cuMemGetAllocationGranularity(&mut granularity, &prop, flag) }.result().unwrap();
    let size = size.next_multiple_of(granularity);
    let mut memory = 0;
    // SAFETY: both pointers are valid for the call.
    unsafe { sys::cuMemCreate(&mut memory, size, &prop, 0) }.result().unwrap();
    let mut fd: RawFd = -1;
    let kind = sys::CUmemAllocationHandleType::CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
    // SAFETY: a descriptor is an int, as `fd` is.
    let exported = unsafe { sys::cuMemExportToShareableHandle((&raw mut fd).cast(), memory, kind, 0) };
    exported.result().unwrap();
    // SAFETY: the descriptor keeps the memory alive.
    unsafe { sys::cuMemRelease(memory) }.result().unwrap();
    // SAFETY: the driver created the descriptor for this process.
    (unsafe { OwnedFd::from_raw_fd(fd) }, size as u64)
}

pub(crate) fn import(device: &CudaDevice) -> Arc<ImportedMemory> {
    let (fd, allocation_size) = export(device, LEN * 4);
    let info = MemoryImportInfo { name: "test", allocation_size, dedicated: false };
    // SAFETY: descriptor, size and device match, and the memory is not used elsewhere.
    unsafe { ImportedMemory::import(device, fd, &info) }.unwrap()
}

pub(crate) fn map(memory: &Arc<ImportedMemory>, home: &Arc<CudaStream>) -> MappedBuffer<u32> {
    MappedBuffer::map(memory, &BufferMappingInfo { offset: 0, len: LEN }, home).unwrap()
}
