//! Functions for Windows only: the adapter's LUID, and sharing by name or by number on the
//! exporting side.
//!
//! Unsafe because these are C functions; cuda.h documents their contracts.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_uint};
use std::io;

use super::put;
use crate::abi::{Code, INVALID_DEVICE};
use crate::descriptor::{self, Raw};
use crate::export::{Export, Payload};
use crate::gate::{self, Needs, entry};
use crate::ledger::watch::Descriptor;

/// Each LUID ends with the device's ordinal. Each device has its own node bit in one linked
/// adapter.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetLuid(luid: *mut [u8; 8], node_mask: *mut c_uint, device: c_int) -> Code {
    entry("cuDeviceGetLuid", Needs::Init).run(|_, _| {
        let ordinal = u8::try_from(device).ok().filter(|ordinal| *ordinal < 2).ok_or(INVALID_DEVICE)?;
        // SAFETY: cuda.h: an output pointer.
        unsafe { put(luid, [0xd0, 0, 0, 0, 0, 0, 0, ordinal]) }?;
        // SAFETY: cuda.h: an output pointer.
        unsafe { put(node_mask, 1 << ordinal) }
    })
}

/// Allocates on GPU 0 as the exporting side and exports under a NUL-terminated name. Returns a new
/// handle that the caller owns, or -1 if the name is taken.
#[unsafe(no_mangle)]
extern "C" fn double_export_named_memory(size: u64, dedicated: c_int, name: *const u16) -> Raw {
    export(memory(size, dedicated), |number| descriptor::make_named(number, size, name)).unwrap_or(-1)
}

/// Creates a semaphore as the exporting side and exports it under a name, like
/// [`double_export_named_memory`].
#[unsafe(no_mangle)]
extern "C" fn double_export_named_semaphore(timeline: c_int, name: *const u16) -> Raw {
    let semaphore = Export::Semaphore(Payload::new(timeline != 0));
    export(semaphore, |number| descriptor::make_named(number, 0, name)).unwrap_or(-1)
}

/// Allocates on GPU 0 as the exporting side and shares by number. The number is that of a handle
/// which the exporting side owns, so that closing it is detected.
#[unsafe(no_mangle)]
extern "C" fn double_share_memory(size: u64, dedicated: c_int) -> Raw {
    share(memory(size, dedicated), size)
}

/// Creates a semaphore as the exporting side and shares it by number, like [`double_share_memory`].
#[unsafe(no_mangle)]
extern "C" fn double_share_semaphore(timeline: c_int) -> Raw {
    share(Export::Semaphore(Payload::new(timeline != 0)), 0)
}

fn memory(size: u64, dedicated: c_int) -> Export {
    Export::Memory { device: 0, size, dedicated: dedicated != 0, image: None }
}

fn share(what: Export, size: u64) -> Raw {
    let Ok(raw) = export(what, |number| descriptor::create(number, size)) else { return -1 };
    if let Some(export) = descriptor::number(raw) {
        gate::ledger().by_number.push(Descriptor { raw, export });
    }
    raw
}

fn export(what: Export, make: impl FnOnce(u64) -> io::Result<Raw>) -> io::Result<Raw> {
    let mut ledger = gate::ledger();
    let number = ledger.serial();
    let raw = make(number)?;
    ledger.exports.insert(number, what);
    Ok(raw)
}
