//! Copies and fills.
//!
//! Unsafe because these are C functions; cuda.h documents their contracts.
#![allow(unsafe_code)]

use crate::abi::{Code, Copy3dDesc, INVALID_VALUE};
use crate::finding::Refusal;
use crate::gate::{Needs, Step, entry};
use crate::ledger::Ledger;
use crate::ledger::copy::Copy3d;
use crate::ledger::queue::Work;

/// Largest copy from pageable memory that is staged before the call returns, whatever the stream
/// waits for. Measured with driver 580.159.04: 1 MiB is staged, 16 MiB is not.
const STAGED: usize = 1 << 20;

/// Pageable memory is read before the call returns. A large copy is read only once the stream
/// reaches it, so the call blocks until then.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyHtoDAsync_v2(to: u64, from: *const u8, size: usize, stream: u64) -> Code {
    entry("cuMemcpyHtoDAsync_v2", Needs::Context).about(to).run_until_done(|ledger, context| {
        let queue = ledger.stream(context, stream)?;
        if let Some(obstacle) =
            ledger.obstacle(queue).filter(|_| size > STAGED && !ledger.captures.contains_key(&queue))
        {
            return Ok(Step::Blocked(obstacle));
        }
        // SAFETY: cuda.h: `from` points to `size` bytes.
        let bytes = unsafe { std::slice::from_raw_parts(from, size) };
        write(ledger, context, stream, to, bytes.to_vec()).map(|()| Step::Done)
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemsetD8Async(to: u64, value: u8, size: usize, stream: u64) -> Code {
    entry("cuMemsetD8Async", Needs::Context)
        .about(to)
        .run(|ledger, context| write(ledger, context, stream, to, vec![value; size]))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, size: usize, stream: u64) -> Code {
    entry("cuMemcpyDtoDAsync_v2", Needs::Context).about(to).run(|ledger, context| {
        let (stream, size) = (ledger.stream(context, stream)?, size as u64);
        ledger.locate(to, size)?;
        ledger.locate(from, size)?;
        ledger.check_access(context, to)?;
        ledger.check_access(context, from)?;
        ledger.enqueue(stream, Work::Copy { to, from, size });
        Ok(())
    })
}

/// A copy to pageable memory returns once it is done.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyDtoHAsync_v2(to: *mut u8, from: u64, size: usize, stream: u64) -> Code {
    entry("cuMemcpyDtoHAsync_v2", Needs::Context).about(from).run_until_done(|ledger, context| {
        let stream = ledger.stream(context, stream)?;
        ledger.forbid_in_capture(stream)?;
        ledger.locate(from, size as u64)?;
        ledger.check_access(context, from)?;
        if let Some(obstacle) = ledger.obstacle(stream) {
            return Ok(Step::Blocked(obstacle));
        }
        let bytes = ledger.load(from, size as u64)?;
        if to.is_null() {
            return Err(INVALID_VALUE.into());
        }
        // SAFETY: cuda.h: there is room for `size` bytes.
        unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Ok(Step::Done)
    })
}

/// Host memory is treated as pinned: the copy is asynchronous, unless the stream is idle.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpy3DAsync_v2(desc: *const Copy3dDesc, stream: u64) -> Code {
    // SAFETY: cuda.h: a valid description, or null, which is an error.
    let Some(desc) = (unsafe { desc.as_ref() }) else { return INVALID_VALUE };
    let array = desc.from.array.max(desc.to.array);
    entry("cuMemcpy3DAsync_v2", Needs::Context).about(array).run(|ledger, context| {
        let stream = ledger.stream(context, stream)?;
        let copy = Copy3d::new(ledger, context, desc)?;
        ledger.enqueue(stream, Work::Copy3d(copy));
        Ok(())
    })
}

fn write(ledger: &mut Ledger, context: u64, stream: u64, address: u64, bytes: Vec<u8>) -> Result<(), Refusal> {
    let stream = ledger.stream(context, stream)?;
    ledger.locate(address, bytes.len() as u64)?;
    ledger.check_access(context, address)?;
    ledger.enqueue(stream, Work::Write { address, bytes });
    Ok(())
}
