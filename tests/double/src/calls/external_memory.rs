//! Imported memory and its mappings. [`Refused`](crate::refused::Refused) decides what happens to
//! descriptors that an import refuses.
//!
//! Unsafe because these are C functions; cuda.h documents their contracts.
#![allow(unsafe_code)]

use super::put;
use crate::abi::{BufferDesc, Code, INVALID_VALUE, MEMORY_DEDICATED, MEMORY_OPAQUE, MemoryHandleDesc, UNKNOWN};
use crate::descriptor::{self, Raw};
use crate::export::Export;
use crate::finding::{Kind, Refusal};
use crate::gate::{Needs, Step, entry};
use crate::ledger::watch::Descriptor;
use crate::ledger::{Ledger, Mapping, Memory};

/// Closes a descriptor that it refuses if [`Refused`](crate::refused::Refused) says so. Never
/// closes an NT handle, which its owner keeps.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuImportExternalMemory(memory: *mut u64, desc: *const MemoryHandleDesc) -> Code {
    // SAFETY: cuda.h: a valid description, or null, which is an error.
    let Some(desc) = (unsafe { desc.as_ref() }) else { return INVALID_VALUE };
    let close = |ledger: &mut Ledger, raw: u64, code| {
        if cfg!(unix) && ledger.refused.closes_memory(code) {
            ledger.close_watched(raw as Raw);
        }
    };
    let import = entry("cuImportExternalMemory", Needs::Context).about(desc.handle.as_object()).on_fault(close);
    import.run(|ledger, context| {
        ledger.check_unsafe_call()?;
        if !MEMORY_OPAQUE.contains(&desc.kind) || desc.size == 0 || desc.flags & !MEMORY_DEDICATED != 0 {
            return Err(INVALID_VALUE.into());
        }
        let dedicated = desc.flags & MEMORY_DEDICATED != 0;
        let raw = descriptor::take(&desc.handle).map_err(|_| UNKNOWN)?;
        let sharing = ledger.check_sharing(&desc.handle, desc.kind);
        let export = match sharing.and_then(|()| exported(ledger, context, raw, desc.size, dedicated)) {
            Ok(export) => export,
            Err(refusal) => {
                // On Windows this closes the driver's own reference.
                if cfg!(windows) || ledger.refused.closes_memory(refusal.code) {
                    ledger.close_watched(raw);
                }
                return Err(refusal);
            }
        };
        let handle = ledger.new_handle();
        let descriptor = Descriptor { raw, export };
        ledger.memories.insert(handle, Memory { context, descriptor, size: desc.size, dedicated });
        // SAFETY: cuda.h: an output pointer; a handle is a pointer.
        unsafe { put(memory, handle) }
    })
}

/// Returns the number of the export. The driver refuses memory of another GPU (measured). It
/// accepts a wrong size or flag without an error, so those are only reported as findings.
fn exported(ledger: &mut Ledger, context: u64, raw: Raw, size: u64, dedicated: bool) -> Result<u64, Refusal> {
    let device = ledger.contexts.get(context)?.device;
    let (number, export) = ledger.export(raw)?;
    let Export::Memory { device: its_device, size: its_size, dedicated: its_dedicated, .. } = *export else {
        let text = format!("descriptor {raw} is of no memory");
        return Err(Refusal::new(UNKNOWN, Kind::WrongObject, text));
    };
    if device != its_device {
        let text = format!("memory of device {its_device} is imported on device {device}");
        return Err(Refusal::new(UNKNOWN, Kind::WrongDevice, text));
    }
    if size != its_size {
        ledger.report(Kind::SizeDiffers, format!("an allocation of {its_size} bytes is imported with {size}"));
    }
    if dedicated != its_dedicated {
        let text = format!("an allocation with dedicated {its_dedicated} is imported with {dedicated}");
        ledger.report(Kind::DedicatedDiffers, text);
    }
    Ok(number)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuExternalMemoryGetMappedBuffer(pointer: *mut u64, memory: u64, desc: *const BufferDesc) -> Code {
    // SAFETY: cuda.h: a valid description, or null, which is an error.
    let Some(desc) = (unsafe { desc.as_ref() }) else { return INVALID_VALUE };
    entry("cuExternalMemoryGetMappedBuffer", Needs::Context).about(memory).run(|ledger, context| {
        ledger.check_unsafe_call()?;
        let imported = ledger.memories.get(memory)?;
        ledger.check_context(context, "memory", imported.context)?;
        let inside = desc.offset.checked_add(desc.size).is_some_and(|end| end <= imported.size);
        if desc.flags != 0 || desc.size == 0 || !inside {
            return Err(INVALID_VALUE.into());
        }
        let address = ledger.new_address(desc.size);
        ledger
            .mappings
            .insert(address, Mapping { context, memory, offset: desc.offset, size: desc.size, allocated: false });
        // SAFETY: cuda.h: an output pointer.
        unsafe { put(pointer, address) }
    })
}

/// Waits for all streams of the context.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuDestroyExternalMemory(memory: u64) -> Code {
    let destroy = entry("cuDestroyExternalMemory", Needs::Context).about(memory);
    destroy.on_fault(|ledger, memory, _| ledger.memories.refuse(memory)).run_until_done(|ledger, context| {
        ledger.check_unsafe_call()?;
        ledger.check_context(context, "memory", ledger.memories.get(memory)?.context)?;
        if let Some(obstacle) = ledger.obstacle_in(context) {
            return Ok(Step::Blocked(obstacle));
        }
        let name = ledger.memories.name(memory);
        let Memory { descriptor, size, dedicated, .. } = ledger.memories.remove(memory)?;
        let mapped: Vec<_> =
            ledger.mappings.iter().filter(|(_, mapping)| mapping.memory == memory).map(|(at, _)| at).collect();
        let mapped = mapped.into_iter().map(|address| ledger.mappings.name(address));
        let arrays = ledger.arrays.iter().filter(|(_, array)| array.memory == memory);
        let arrays = arrays.map(|(handle, _)| ledger.arrays.name(handle));
        for mapping in mapped.chain(arrays).collect::<Vec<_>>() {
            let text = format!("{name} of {size} bytes, dedicated {dedicated}, is destroyed before {mapping} is freed");
            ledger.report(Kind::MappedAtDestroy, text);
        }
        ledger.close(descriptor, &name);
        Ok(Step::Done)
    })
}
