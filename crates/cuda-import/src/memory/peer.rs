//! Memory of one GPU for kernels of other GPUs.
//!
//! `cuImportExternalMemory` accepts only memory that its own GPU exported. The virtual memory
//! management functions accept the same descriptor for any GPU that can access the exporting one:
//! the memory is mapped once in the address space of the process, and each device is given access.
//! (Measured with two H100s linked by NVLink: kernels of one write memory that Vulkan allocated on
//! the other at 370 GB/s, as fast as memory that CUDA allocated.)
//!
//! Contains unsafe code because the driver does not validate the origin of a descriptor.
#![allow(unsafe_code)]

use std::sync::Arc;

use crate::device::CudaDevice;
use crate::error::{Error, Object, Result};
use crate::handle::OsHandle;
use crate::logging::log_trace;
use crate::memory::origin::Origin;
use crate::memory::peer_allocation::PeerAllocation;
use crate::memory::{ImportedMemory, MemoryImportInfo};
use crate::sys::{AllocationHandle, Vmm};

/// The size of memory for several GPUs must be a multiple of this, in bytes.
pub const PEER_GRANULARITY: u64 = 2 << 20;

impl ImportedMemory {
    /// Imports memory of any GPU of this driver for kernels and copies of `device` and `others`,
    /// which may all differ from the GPU that contains the memory. No context on that GPU is
    /// needed, and `CUDA_VISIBLE_DEVICES` may hide it.
    ///
    /// The descriptor is not transferred to the driver: it is closed before this returns, with or
    /// without an error. All of the memory is mapped at once, by one
    /// [`MappedBuffer`](crate::MappedBuffer), [`MappedBlock`](crate::MappedBlock) or image in rows
    /// ([`MappedImage::map_rows`](crate::MappedImage::map_rows)); arrays cannot be mapped from it.
    /// It is freed like other imported memory.
    ///
    /// Driver API: [`cuMemImportFromShareableHandle`][driver].
    ///
    /// # Errors
    /// [`Error::Zero`] and [`Error::Granularity`] for a size that is not a multiple of
    /// [`PEER_GRANULARITY`]; [`Error::PeerUnsupported`] for a device that cannot map the memory of
    /// other GPUs, for a device that is listed twice, and on Windows, because only file descriptors
    /// are known to work; [`Error::DriverTooOld`] with the functions that the driver lacks;
    /// [`Error::Driver`] if the driver call fails. Whether a GPU can access the other is only
    /// detected when the memory is mapped; [`peer_access`](crate::peer_access) queries it
    /// beforehand.
    ///
    /// # Safety
    /// - `handle` is an opaque descriptor of memory that a GPU of this driver exported, and not of
    ///   another kind of object. **A descriptor of a different GPU than intended is accepted, and
    ///   other memory is accessed**: compare UUIDs first.
    /// - `allocation_size` is that of the allocation.
    /// - The last requirement of [`import`](Self::import) holds for all devices.
    ///
    /// [driver]: https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__VA.html
    #[doc(alias = "cuMemImportFromShareableHandle")]
    pub unsafe fn import_peer(
        device: &CudaDevice,
        others: &[CudaDevice],
        handle: OsHandle,
        info: &MemoryImportInfo<'_>,
    ) -> Result<Arc<Self>> {
        let object = Object("memory", info.name);
        if info.allocation_size == 0 {
            return Err(Error::Zero { object: object.to_string(), what: "allocation size" });
        }
        if !info.allocation_size.is_multiple_of(PEER_GRANULARITY) {
            return Err(Error::Granularity {
                object: object.to_string(),
                size: info.allocation_size,
                granularity: PEER_GRANULARITY,
            });
        }
        let all: Vec<_> = std::iter::once(device).chain(others).collect();
        check_devices(&all, &object)?;
        let size = usize::try_from(info.allocation_size).map_err(|_| Error::SizeOverflow {
            object: object.to_string(),
            len: usize::MAX,
            element_size: 1,
        })?;
        device.check_recorded()?;
        let vmm = device.driver().vmm()?;
        // SAFETY: the descriptor is open as long as `handle` lives; this function's caller
        // guarantees its origin.
        let allocation = unsafe { import(vmm, &handle, device, &object) }?;
        drop(handle);
        let access = all.iter().map(|device| device.object().cu_device()).collect();
        let peer = PeerAllocation::new(allocation, vmm, size, access, others.into());
        let imported = Self::new(Origin::Peer(peer), device, info);
        log_trace!("import {object} for {} devices: {} bytes", all.len(), info.allocation_size);
        Ok(imported)
    }
}

/// # Safety
/// The descriptor is of memory that this driver exported.
#[cfg(unix)]
unsafe fn import(vmm: Vmm, handle: &OsHandle, device: &CudaDevice, object: &Object<'_>) -> Result<AllocationHandle> {
    use std::os::fd::AsRawFd;
    let imported = device.bind().and_then(|_current| {
        // SAFETY: this function's contract.
        unsafe { vmm.import(handle.as_raw_fd()) }
    });
    imported.map_err(|error| error.at(object, device.name()))
}

/// # Safety
/// None: it makes no driver call.
#[cfg(windows)]
unsafe fn import(_: Vmm, _: &OsHandle, device: &CudaDevice, object: &Object<'_>) -> Result<AllocationHandle> {
    Err(unsupported(
        device,
        object,
        "Windows has no file descriptors, the only kind of handle known to work".to_owned(),
    ))
}

/// Checks that each device can map the memory of other GPUs, and is listed once.
fn check_devices(devices: &[&CudaDevice], object: &Object<'_>) -> Result<()> {
    for (place, device) in devices.iter().enumerate() {
        if !device.report().virtual_memory {
            let reason =
                "it has no virtual memory management (CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED)";
            return Err(unsupported(device, object, reason.to_owned()));
        }
        if devices[..place].iter().any(|other| other.uuid() == device.uuid()) {
            return Err(unsupported(device, object, format!("it is given twice ({})", device.uuid())));
        }
    }
    Ok(())
}

fn unsupported(device: &CudaDevice, object: &Object<'_>, reason: String) -> Error {
    Error::PeerUnsupported { object: object.to_string(), device: device.name().to_owned(), reason }
}
