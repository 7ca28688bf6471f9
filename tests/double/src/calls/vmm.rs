//! Virtual memory management, as far as imports need it. None of the calls needs a current context.
//!
//! Unsafe because these are C functions; cuda.h documents their contracts.
#![allow(unsafe_code)]

use std::collections::BTreeSet;
use std::ffi::{c_int, c_uint, c_ulonglong, c_void};

use super::device::check_device;
use super::put;
use crate::abi::{
    ACCESS_READ_WRITE, AccessDesc, Code, HANDLE_POSIX, INVALID_DEVICE, INVALID_VALUE, LOCATION_DEVICE, NOT_SUPPORTED,
};
use crate::descriptor::{self, Raw};
use crate::export::Export;
use crate::finding::{Kind, Refusal};
use crate::gate::{Needs, entry};
use crate::ledger::vmm::{Allocation, Backing, GRANULARITY, Mapped, Reservation};
use crate::ledger::watch::Descriptor;

/// Reports 0 for a device and itself, as the driver does.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceCanAccessPeer(can: *mut c_int, device: c_int, owner: c_int) -> Code {
    entry("cuDeviceCanAccessPeer", Needs::Init).run(|ledger, _| {
        check_device(device)?;
        check_device(owner)?;
        let answer = device != owner && ledger.vmm.can_access(device, owner);
        // SAFETY: cuda.h: an output pointer.
        unsafe { put(can, c_int::from(answer)) }
    })
}

/// Accepts memory of any GPU (measured). The caller keeps the descriptor, which stays open whatever
/// the outcome.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemImportFromShareableHandle(handle: *mut c_ulonglong, raw: *mut c_void, kind: c_uint) -> Code {
    let raw = raw.addr() as Raw;
    entry("cuMemImportFromShareableHandle", Needs::Init).about(raw as u64).run(|ledger, _| {
        if kind != HANDLE_POSIX {
            return Err(INVALID_VALUE.into());
        }
        let (export, made) = ledger.export(raw)?;
        let Export::Memory { device, size, .. } = *made else {
            let text = format!("descriptor {raw} is of no memory");
            return Err(Refusal::new(INVALID_VALUE, Kind::WrongObject, text));
        };
        let own = descriptor::duplicate(raw).map_err(|_| NOT_SUPPORTED)?;
        let (backing, allocation) = (ledger.serial(), ledger.new_handle());
        let descriptor = Descriptor { raw: own, export };
        ledger.vmm.backings.insert(backing, Backing { descriptor, device, size, uses: 1 });
        ledger.vmm.allocations.insert(allocation, Allocation { backing });
        // SAFETY: cuda.h: an output pointer.
        unsafe { put(handle, allocation) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemAddressReserve(
    address: *mut u64,
    size: usize,
    alignment: usize,
    wish: u64,
    flags: c_ulonglong,
) -> Code {
    entry("cuMemAddressReserve", Needs::Init).run(|ledger, _| {
        let size = size as u64;
        if size == 0 || !size.is_multiple_of(GRANULARITY) || alignment != 0 || wish != 0 || flags != 0 {
            return Err(INVALID_VALUE.into());
        }
        let start = ledger.new_address(size);
        ledger.vmm.reservations.insert(start, Reservation { size, mapped: None });
        // SAFETY: cuda.h: an output pointer.
        unsafe { put(address, start) }
    })
}

/// Maps a whole allocation, whose size is a multiple of the page size, to a whole reservation. The
/// driver accepts nothing else for imported memory (measured).
#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemMap(
    address: u64,
    size: usize,
    offset: usize,
    handle: c_ulonglong,
    flags: c_ulonglong,
) -> Code {
    entry("cuMemMap", Needs::Init).about(address).run(|ledger, _| {
        let size = size as u64;
        let known = ledger.vmm.allocations.get(handle);
        let backing = known.map_err(|refusal| Refusal { code: INVALID_VALUE, ..refusal })?.backing;
        let whole = ledger.vmm.backings.get(&backing).is_some_and(|backing| backing.size == size);
        if offset != 0 || flags != 0 || !size.is_multiple_of(GRANULARITY) || !whole {
            return Err(INVALID_VALUE.into());
        }
        let reservation = ledger.whole_reservation(address, size)?;
        if reservation.mapped.is_some() {
            return Err(INVALID_VALUE.into());
        }
        reservation.mapped = Some(Mapped { backing, access: BTreeSet::new() });
        if let Some(backing) = ledger.vmm.backings.get_mut(&backing) {
            backing.uses += 1;
        }
        Ok(())
    })
}

/// Sets the access of all devices or of none. Refuses a device that cannot access the memory.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemSetAccess(address: u64, size: usize, descs: *const AccessDesc, count: usize) -> Code {
    if descs.is_null() || count == 0 {
        return INVALID_VALUE;
    }
    // SAFETY: cuda.h: an array of `count` elements.
    let descs = unsafe { std::slice::from_raw_parts(descs, count) };
    entry("cuMemSetAccess", Needs::Init).about(address).run(|ledger, _| {
        let mapped = ledger.whole_reservation(address, size as u64)?.mapped.as_ref().ok_or(INVALID_VALUE)?;
        let backing = mapped.backing;
        let owner = ledger.vmm.backings.get(&backing).ok_or(INVALID_VALUE)?.device;
        for desc in descs {
            if desc.location_type != LOCATION_DEVICE || desc.flags != ACCESS_READ_WRITE {
                return Err(INVALID_VALUE.into());
            }
            check_device(desc.location_id)?;
            if !ledger.vmm.can_access(desc.location_id, owner) {
                return Err(INVALID_DEVICE.into());
            }
        }
        if let Some(mapped) = &mut ledger.whole_reservation(address, size as u64)?.mapped {
            mapped.access.extend(descs.iter().map(|desc| desc.location_id));
        }
        Ok(())
    })
}

/// Work that uses the range must have ended.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemUnmap(address: u64, size: usize) -> Code {
    let unmap = entry("cuMemUnmap", Needs::Init).about(address);
    unmap.on_fault(|ledger, address, _| ledger.vmm.reservations.refuse(address)).run(|ledger, _| {
        let size = size as u64;
        let mapped = ledger.whole_reservation(address, size)?.mapped.take().ok_or(INVALID_VALUE)?;
        if ledger.is_range_pending(address, size) {
            let text = format!("{} is unmapped while work uses it", ledger.vmm.reservations.name(address));
            ledger.report(Kind::PendingAtDestroy, text);
        }
        ledger.release_backing(mapped.backing);
        Ok(())
    })
}

/// Requires a range in which nothing is mapped.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemAddressFree(address: u64, size: usize) -> Code {
    let free = entry("cuMemAddressFree", Needs::Init).about(address);
    free.on_fault(|ledger, address, _| ledger.vmm.reservations.refuse(address)).run(|ledger, _| {
        if ledger.whole_reservation(address, size as u64)?.mapped.is_some() {
            let text = format!("{} is freed while something is mapped there", ledger.vmm.reservations.name(address));
            return Err(Refusal::new(INVALID_VALUE, Kind::MappedAtDestroy, text));
        }
        ledger.vmm.reservations.remove(address)?;
        Ok(())
    })
}

/// Mappings keep the memory alive.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemRelease(handle: c_ulonglong) -> Code {
    let release = entry("cuMemRelease", Needs::Init).about(handle);
    release.on_fault(|ledger, handle, _| ledger.vmm.allocations.refuse(handle)).run(|ledger, _| {
        let released = ledger.vmm.allocations.remove(handle);
        let Allocation { backing } = released.map_err(|refusal| Refusal { code: INVALID_VALUE, ..refusal })?;
        ledger.release_backing(backing);
        Ok(())
    })
}
