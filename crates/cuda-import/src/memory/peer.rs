//! Memory of a GPU for kernels of others.
//!
//! `cuImportExternalMemory` takes only what its own GPU has exported. Virtual memory management
//! takes the same descriptor for any GPU that can access the exporting one: it is mapped once in
//! the address space of the process, and each device is given access. (Measured with two H100s
//! linked by NVLink: kernels of the one write memory that Vulkan allocated on the other with 370
//! GB/s, as fast as memory of CUDA's own.)
//!
//! Unsafe because the driver believes what it is told of a descriptor.
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

/// Granularity of the size of memory for several GPUs, in bytes.
pub const PEER_GRANULARITY: u64 = 2 << 20;

impl ImportedMemory {
    /// Imports memory of any GPU of this driver for kernels and copies of `device` and `others`,
    /// none of which need be the GPU that the memory is on. No context on that GPU is needed, and
    /// `CUDA_VISIBLE_DEVICES` may hide it.
    ///
    /// The descriptor stays the caller's side: it is closed before this returns, success or not.
    /// All of the memory is mapped at once, by one [`MappedBuffer`](crate::MappedBuffer),
    /// [`MappedBlock`](crate::MappedBlock) or image in rows
    /// ([`MappedImage::map_rows`](crate::MappedImage::map_rows)); arrays cannot be mapped from it.
    /// Freeing it is done as for other imported memory.
    ///
    /// # Errors
    /// [`Error::Zero`] and [`Error::Granularity`] for a size that is no multiple of
    /// [`PEER_GRANULARITY`]; [`Error::PeerUnsupported`] for a device that cannot map memory of
    /// others, for one that is given twice, and on Windows, where only descriptors are known to
    /// work; [`Error::DriverTooOld`] naming the calls that the driver lacks; [`Error::Driver`] when
    /// it refuses. Whether a GPU can access the other shows when the memory is mapped;
    /// [`peer_access`](crate::peer_access) asks beforehand.
    ///
    /// # Safety
    /// - `handle` is an opaque descriptor of memory that a GPU of this driver exported, and of no
    ///   other kind of object. **A descriptor of another GPU than the one meant is accepted, and
    ///   other memory accessed**: compare UUIDs first.
    /// - `allocation_size` is that of the allocation.
    /// - The last point of [`import`](Self::import), for all devices.
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
        // SAFETY: the descriptor is open as long as `handle` lives; this function's caller answers
        // for what it is of.
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
        // SAFETY: handed on to the caller.
        unsafe { vmm.import(handle.as_raw_fd()) }
    });
    imported.map_err(|error| error.at(object, device.name()))
}

/// # Safety
/// None: it makes no call.
#[cfg(windows)]
unsafe fn import(_: Vmm, _: &OsHandle, device: &CudaDevice, object: &Object<'_>) -> Result<AllocationHandle> {
    Err(unsupported(
        device,
        object,
        "Windows has no descriptors, the one kind of handle that is known to work".to_owned(),
    ))
}

/// Checks that each device can map memory of others, and is there once.
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
