//! Device memory that the driver allocates, and the free functions, which also free mappings.
//!
//! Unsafe because these are C functions; cuda.h documents their contracts.
#![allow(unsafe_code)]

use super::put;
use crate::abi::{Code, INVALID_VALUE};
use crate::descriptor;
use crate::export::Export;
use crate::finding::{Kind, Refusal};
use crate::gate::{Needs, Step, entry};
use crate::ledger::queue::Work;
use crate::ledger::watch::Descriptor;
use crate::ledger::{Ledger, Mapping, Memory};

/// `CUDA_ERROR_OUT_OF_MEMORY`
const OUT_OF_MEMORY: Code = 2;

/// Maps new memory that is not shared. Does not wait (measured).
#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemAlloc_v2(pointer: *mut u64, size: usize) -> Code {
    entry("cuMemAlloc_v2", Needs::Context).run(|ledger, context| {
        ledger.check_unsafe_call()?;
        let address = allocate(ledger, context, size as u64)?;
        // SAFETY: cuda.h: an output pointer.
        unsafe { put(pointer, address) }
    })
}

/// Allocates immediately, which a program cannot distinguish from an allocation in stream order.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemAllocAsync(pointer: *mut u64, size: usize, stream: u64) -> Code {
    entry("cuMemAllocAsync", Needs::Context).about(stream).run(|ledger, context| {
        ledger.stream(context, stream)?;
        let address = allocate(ledger, context, size as u64)?;
        // SAFETY: cuda.h: an output pointer.
        unsafe { put(pointer, address) }
    })
}

fn allocate(ledger: &mut Ledger, context: u64, size: u64) -> Result<u64, Refusal> {
    let device = ledger.contexts.get(context)?.device;
    if size == 0 {
        return Err(INVALID_VALUE.into());
    }
    let export = ledger.serial();
    let raw = descriptor::create(export, size).map_err(|_| OUT_OF_MEMORY)?;
    ledger.exports.insert(export, Export::Memory { device, size, dedicated: true, image: None });
    let memory = ledger.new_handle();
    let descriptor = Descriptor { raw, export };
    ledger.memories.insert(memory, Memory { context, descriptor, size, dedicated: true });
    let address = ledger.new_address(size);
    ledger.mappings.insert(address, Mapping { context, memory, offset: 0, size, allocated: true });
    Ok(address)
}

impl Ledger {
    /// Frees an allocation, or unmaps imported memory.
    pub(crate) fn free(&mut self, pointer: u64) -> Result<(), Refusal> {
        let Mapping { memory, allocated, .. } = self.mappings.remove(pointer)?;
        if allocated {
            let name = self.memories.name(memory);
            let Memory { descriptor, .. } = self.memories.remove(memory)?;
            self.close(descriptor, &name);
        }
        Ok(())
    }
}

/// Waits for all streams of the context (measured). Returns an invalid-value error for a pointer
/// that is not, or no longer, an allocation or a mapping.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemFree_v2(pointer: u64) -> Code {
    let free = entry("cuMemFree_v2", Needs::Context).about(pointer);
    free.on_fault(|ledger, pointer, _| ledger.mappings.refuse(pointer)).run_until_done(|ledger, context| {
        ledger.check_unsafe_call()?;
        let owner = ledger.mappings.get(pointer).map(|mapping| mapping.context);
        ledger.check_context(
            context,
            "mapping",
            owner.map_err(|refusal| Refusal { code: INVALID_VALUE, ..refusal })?,
        )?;
        if let Some(obstacle) = ledger.obstacle_in(context) {
            return Ok(Step::Blocked(obstacle));
        }
        ledger.free(pointer)?;
        Ok(Step::Done)
    })
}

/// Frees an allocation of either kind in stream order. Refuses mappings.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemFreeAsync(pointer: u64, stream: u64) -> Code {
    entry("cuMemFreeAsync", Needs::Context).about(pointer).run(|ledger, context| {
        if ledger.mappings.find(pointer).is_some_and(|mapping| mapping.allocated) {
            let stream = ledger.stream(context, stream)?;
            ledger.enqueue(stream, Work::Free { address: pointer });
            return Ok(());
        }
        let text = format!("{} is no stream-ordered allocation", ledger.mappings.name(pointer));
        Err(Refusal::new(INVALID_VALUE, Kind::AsyncFreeOfMapping, text))
    })
}
