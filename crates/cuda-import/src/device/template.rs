//! A copy of a context object, for more of them to be made.
//!
//! Unsafe because it copies an object bit by bit.
#![allow(unsafe_code)]

use std::mem::ManuallyDrop;
use std::sync::Arc;

use cudarc::driver::CudaContext;

/// A context object that nobody uses, for others to be made from without a call.
///
/// # A workaround
/// Symptom: a second object for a context that is there leaks a reference to the context, or destroys the context, when a
/// call fails while the object is made.
/// Cause: `CudaContext::new` and `from_raw_context` of cudarc 0.19.10 give up half-way, and fields can be set by nothing else.
/// Solution: a bitwise copy of an object that nobody else has yet. It holds numbers only, and is never dropped.
/// Remove when: cudarc has a borrowed context object, as it has `wrap_borrowed_stream`.
#[derive(Debug)]
pub(crate) struct Template(ManuallyDrop<CudaContext>);

/// Numbers only: a field that owned something would most likely show here.
const _: () = assert!(size_of::<CudaContext>() <= 6 * size_of::<usize>());

impl Template {
    /// None for an object that is shared already.
    pub(crate) fn new(context: &mut Arc<CudaContext>) -> Option<Self> {
        let unique = Arc::get_mut(context)?;
        // SAFETY: nobody else has the object, so no field changes meanwhile; the copy is never dropped.
        Some(Self(ManuallyDrop::new(unsafe { std::ptr::read(unique) })))
    }

    pub(crate) fn copy(&self) -> Arc<CudaContext> {
        // SAFETY: nobody changes the template; `OwnMailbox` never drops the copy.
        Arc::new(unsafe { std::ptr::read(&*self.0) })
    }
}
