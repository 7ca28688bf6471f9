//! A `CudaSlice` that does not own its pointer.
//!
//! Unsafe because a slice is made from a bare pointer, and taken apart before it would free it.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use cudarc::driver::sys::CUdeviceptr;
use cudarc::driver::{CudaSlice, CudaStream, DriverError};

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
        // `upgrade_device_ptr` unwraps the creation of two events. What makes that fail, a lost context or memory that has
        // run out, fails here first.
        let events = (home.context().new_event(None)?, home.context().new_event(None)?);
        drop(events);
        // SAFETY: the caller vouches for pointer, length and context; the result is leaked, never dropped.
        let slice = unsafe { home.upgrade_device_ptr(pointer, len) };
        Ok(Self { slice: ManuallyDrop::new(slice), owner: PhantomData })
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
