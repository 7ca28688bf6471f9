//! The entry points.

mod allocation;
mod array;
mod context;
mod control;
mod device;
mod external_memory;
mod external_semaphore;
mod graph;
mod host_function;
mod module;
#[cfg(windows)]
mod nt;
mod object;
mod stream;
mod transfer;
mod vmm;

pub(crate) use control::Sink;
#[cfg(target_os = "linux")]
pub(crate) use device::uuid;

use crate::abi::INVALID_VALUE;
use crate::finding::Refusal;

/// Writes an output. Returns `CUDA_ERROR_INVALID_VALUE` for a null pointer, as cuda.h specifies.
///
/// # Safety
///
/// `place` is null or valid for a write.
#[allow(unsafe_code, reason = "outputs are pointers in cuda.h")]
unsafe fn put<T>(place: *mut T, value: T) -> Result<(), Refusal> {
    if place.is_null() {
        return Err(INVALID_VALUE.into());
    }
    // SAFETY: guaranteed by the caller.
    unsafe { place.write(value) };
    Ok(())
}
