//! Host functions that a stream calls (`cuLaunchHostFunc`).
#![allow(unsafe_code, reason = "calls a C function")]

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr::with_exposed_provenance_mut;

thread_local! {
    static IS_INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// A `CUhostFn` and its data.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostFunction {
    function: unsafe extern "C" fn(*mut c_void),
    data: usize,
}

impl HostFunction {
    pub(crate) fn new(function: unsafe extern "C" fn(*mut c_void), data: *mut c_void) -> Self {
        Self { function, data: data.expose_provenance() }
    }

    pub(crate) fn call(self) {
        IS_INSIDE.set(true);
        // SAFETY: cuda.h, CUhostFn: the caller of `cuLaunchHostFunc` guarantees that the function
        // can be called with its data, on any thread, in the stream's order.
        unsafe { (self.function)(with_exposed_provenance_mut(self.data)) };
    }
}

/// Returns `true` if this thread runs a host function.
pub(crate) fn is_inside() -> bool {
    IS_INSIDE.get()
}
