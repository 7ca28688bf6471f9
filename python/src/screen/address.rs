//! Checks of a tensor's address with the driver.

// CUDA calls.
#![allow(unsafe_code)]

use std::ptr::null_mut;
use std::sync::Arc;

use bridge::cuda_import::CudaDevice;
use bridge::cudarc::driver::{CudaContext, sys};

use crate::error::{Fault, Kind};
use crate::tensor::array::view_argument;
use crate::tensor::device::UNKNOWN;
use crate::tensor::{Device, TensorView};

/// Checks with the driver that the first and the last byte of the tensor are memory of the view's
/// device. Memory of an allocator may consist of several adjacent mappings, so checking the range
/// of one of them is not enough.
pub(crate) fn check_device(device: &CudaDevice, context: &Arc<CudaContext>, tensor: &TensorView) -> Result<(), Fault> {
    let (first, span) = (tensor.address, tensor.rows.last() + 1);
    // An end beyond the address space is not valid memory either.
    let (ordinal, last, foreign) = {
        let _current = Current::push(context)?;
        let end = first.checked_add(span - 1);
        let foreign = [Some(first), end].into_iter().flatten().any(|byte| is_foreign(context, byte));
        (ordinal_at(first), end.and_then(ordinal_at), foreign)
    };
    let what = || tensor.describe();
    let Some(ordinal) = ordinal else {
        let reason = format!("{} says that it is at {first:#x}, which is not memory of CUDA", what());
        return Err(Fault::new(Kind::Tensor, reason));
    };
    if last != Some(ordinal) {
        let reason = "but not all of that is memory of CUDA";
        return Err(Fault::new(
            Kind::Tensor,
            format!("{} says that it has {span} bytes at {first:#x}, {reason}", what()),
        ));
    }
    let claimed = match tensor.device {
        Device::Cuda(claimed) if claimed != UNKNOWN => claimed,
        _ => ordinal,
    };
    match i32::try_from(device.ordinal()) {
        Ok(ours) if ours == ordinal && ours == claimed && foreign => {
            let reason = "is memory of another CUDA context than the device's primary one, which the view uses";
            let advice = "make it in the primary context, where its streams can be waited for";
            Err(Fault::new(Kind::Device, format!("{} {reason}: {advice}", what())))
        }
        Ok(ours) if ours == ordinal && ours == claimed => Ok(()),
        ours => {
            let (what, ours, name) = (what(), ours.unwrap_or(UNKNOWN), device.name());
            let there = view_argument(ordinal);
            let advice = tensor.role.moved(&format!(".to(\"cuda:{ours}\")"), &format!("cuda:{ours}"));
            Err(Fault::new(
                Kind::Device,
                format!(
                    "{what} is on CUDA device {ordinal} (it says {claimed}), the view on CUDA device {ours} ({name}), and nothing \
                     is copied between GPUs: {advice}, or make the view with {there}"
                ),
            ))
        }
    }
}

/// Returns the device that owns the memory at an address, or `None` if CUDA does not know the
/// address. A context must be current.
fn ordinal_at(address: usize) -> Option<i32> {
    let mut ordinal = UNKNOWN;
    let attribute = sys::CUpointer_attribute::CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL;
    // SAFETY: the attribute is an `int`; the address is only looked up, not accessed.
    let code = unsafe { sys::cuPointerGetAttribute((&raw mut ordinal).cast(), attribute, address as sys::CUdeviceptr) };
    (code == sys::CUresult::CUDA_SUCCESS).then_some(ordinal)
}

/// Returns `true` if the memory was allocated in a different context than ours. Default streams,
/// such as the legacy one, are separate in each context, so ours would not wait for the work that
/// writes the memory. Memory of pools and virtual mappings has no context.
fn is_foreign(ours: &CudaContext, address: usize) -> bool {
    let mut context: sys::CUcontext = null_mut();
    let attribute = sys::CUpointer_attribute::CU_POINTER_ATTRIBUTE_CONTEXT;
    // SAFETY: the attribute is a `CUcontext`; the address is only looked up, not accessed.
    let code = unsafe { sys::cuPointerGetAttribute((&raw mut context).cast(), attribute, address as sys::CUdeviceptr) };
    code == sys::CUresult::CUDA_SUCCESS && !context.is_null() && context != ours.cu_ctx()
}

/// Makes a context current on this thread while it exists. Dropping it restores the caller's
/// context.
pub(crate) struct Current;

impl Current {
    pub(crate) fn push(context: &CudaContext) -> Result<Self, Fault> {
        // SAFETY: the reference keeps the context alive.
        let code = unsafe { sys::cuCtxPushCurrent_v2(context.cu_ctx()) };
        if code == sys::CUresult::CUDA_SUCCESS {
            return Ok(Self);
        }
        Err(Fault::new(Kind::Driver, format!("cuCtxPushCurrent failed: {code:?}")))
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        let mut popped = null_mut();
        // SAFETY: the context that `push` pushed is on top, since no code in between changes the
        // stack.
        let _ = unsafe { sys::cuCtxPopCurrent_v2(&raw mut popped) };
    }
}
