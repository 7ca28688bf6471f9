//! A `CudaSlice` that does not own its pointer.
//!
//! # A workaround
//! Symptom: a slice is asked for when the driver can make no more events, and the program panics.
//! Cause: `CudaStream::upgrade_device_ptr` of cudarc 0.19.10 unwraps the creation of two events.
//! Solution: make two events first, which returns the error of whatever lasts; what fails only in between is caught, and
//! tried again.
//! Remove when: cudarc returns the error.
//!
//! Unsafe because a slice is made from a bare pointer, and taken apart before it would free it.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use cudarc::driver::sys::{CUdeviceptr, CUresult};
use cudarc::driver::{CudaSlice, CudaStream, DriverError};

/// See the workaround above.
const TRIES: usize = 3;

/// A mapped buffer as a [`CudaSlice`], from [`MappedBuffer::as_cuda_slice`](crate::MappedBuffer::as_cuda_slice). Dropping
/// it frees nothing; it makes the home stream wait for work that cudarc tracked on other streams.
#[derive(Debug)]
pub struct BorrowedSlice<'a, T> {
    slice: ManuallyDrop<CudaSlice<T>>,
    owner: PhantomData<&'a T>,
}

impl<T> BorrowedSlice<'_, T> {
    /// # Safety
    /// `pointer` is a live allocation of `len` elements in the stream's context for as long as the result lives.
    pub(crate) unsafe fn new(pointer: CUdeviceptr, len: usize, home: &Arc<CudaStream>) -> Result<Self, DriverError> {
        for _ in 0..TRIES {
            let context = home.context();
            let events = (context.new_event(None)?, context.new_event(None)?);
            drop(events);
            // What cudarc recorded when those were destroyed comes up in its next call. That must not be the one below.
            let earlier = context.check_err();
            // Safe to see again after a panic: it only makes things, and unwinding drops them.
            let upgrade = AssertUnwindSafe(|| {
                // SAFETY: the caller vouches for pointer, length and context; the result is leaked, never dropped.
                unsafe { home.upgrade_device_ptr(pointer, len) }
            });
            let slice = catch_unwind(upgrade);
            context.record_err(earlier);
            if let Ok(slice) = slice {
                return Ok(Self { slice: ManuallyDrop::new(slice), owner: PhantomData });
            }
        }
        Err(DriverError(CUresult::CUDA_ERROR_UNKNOWN))
    }
}

impl<T> Deref for BorrowedSlice<'_, T> {
    type Target = CudaSlice<T>;

    fn deref(&self) -> &CudaSlice<T> {
        &self.slice
    }
}

impl<T> DerefMut for BorrowedSlice<'_, T> {
    fn deref_mut(&mut self) -> &mut CudaSlice<T> {
        &mut self.slice
    }
}

impl<T> Drop for BorrowedSlice<'_, T> {
    fn drop(&mut self) {
        // SAFETY: `slice` is taken once, here, and not used afterwards.
        let slice = unsafe { ManuallyDrop::take(&mut self.slice) };
        let _still_owned_by_the_buffer = slice.leak();
    }
}
