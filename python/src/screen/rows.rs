//! Copies between a tensor's rows and memory without gaps.

// Copies between addresses.
#![allow(unsafe_code)]

use std::ptr::{null, null_mut, with_exposed_provenance, with_exposed_provenance_mut};

use bridge::cudarc::driver::sys;

use crate::error::{Fault, Kind};
use crate::tensor::rows::Rows;

/// Copies the rows at `address` into `target`, one after the other. Rows that do not fit are
/// omitted.
///
/// # Safety
/// The rows are memory of this process that nothing writes during the call.
pub(crate) unsafe fn gather(address: usize, rows: Rows, target: &mut [u8]) {
    for (index, target) in target.chunks_exact_mut(rows.len).take(rows.count).enumerate() {
        let row = with_exposed_provenance::<u8>(address + index * rows.pitch);
        // SAFETY: the row is memory of the tensor, by this function's contract; the target has the
        // same length and is separate memory.
        unsafe { row.copy_to_nonoverlapping(target.as_mut_ptr(), rows.len) };
    }
}

/// Copies `source` into the rows at `address`.
///
/// # Safety
/// The rows are memory of this process that nothing reads or writes during the call.
pub(crate) unsafe fn scatter(source: &[u8], address: usize, rows: Rows) {
    for (index, source) in source.chunks_exact(rows.len).take(rows.count).enumerate() {
        let row = with_exposed_provenance_mut::<u8>(address + index * rows.pitch);
        // SAFETY: the row is memory of the tensor, by this function's contract; the source has the
        // same length.
        unsafe { row.copy_from(source.as_ptr(), rows.len) };
    }
}

/// An address on the device, and the distance between rows in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Pitched {
    pub(crate) address: sys::CUdeviceptr,
    pub(crate) pitch: usize,
}

/// Enqueues a copy of `rows` on the device.
///
/// # Safety
/// Source and target contain these rows, which do not overlap. A context is current, and the stream
/// belongs to it.
pub(crate) unsafe fn copy_rows(
    (target, source): (Pitched, Pitched),
    rows: Rows,
    stream: sys::CUstream,
) -> Result<(), Fault> {
    let copy = sys::CUDA_MEMCPY2D {
        srcXInBytes: 0,
        srcY: 0,
        srcMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_DEVICE,
        srcHost: null(),
        srcDevice: source.address,
        srcArray: null_mut(),
        srcPitch: source.pitch,
        dstXInBytes: 0,
        dstY: 0,
        dstMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_DEVICE,
        dstHost: null_mut(),
        dstDevice: target.address,
        dstArray: null_mut(),
        dstPitch: target.pitch,
        WidthInBytes: rows.len,
        Height: rows.count,
    };
    // SAFETY: the rows exist, by this function's contract; the description is read before the call
    // returns.
    let code = unsafe { sys::cuMemcpy2DAsync_v2(&raw const copy, stream) };
    code.result().map_err(|error| {
        let Rows { len, count, pitch } = rows;
        let reason = format!("{count} rows of {len} bytes, {pitch} bytes apart: make the tensor contiguous");
        Fault::new(Kind::Driver, format!("cuMemcpy2DAsync failed: {error} ({}) for {reason}", error.0 as u32))
    })
}
