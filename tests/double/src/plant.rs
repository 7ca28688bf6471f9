//! Faults that a test plants, to see that it would find them: calls are made otherwise than the
//! caller asks, as if the caller had made them so.
//!
//! Unsafe because it calls C.
#![allow(unsafe_code)]

use crate::client::Double;

/// What becomes of the calls of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Planted {
    /// Nothing is done, and success returned: the caller has forgotten the call. Not for calls with
    /// results.
    Skipped,
    /// Each is done a second time.
    Twice,
    /// Where a fault hits one, it returns success: the caller does not say that it failed.
    Silent,
}

#[derive(Debug)]
pub(crate) struct Plant {
    planted: Planted,
    /// As in cuda.h, with its version.
    name: String,
    /// Calls about this object alone; 0 for all.
    object: u64,
}

impl Plant {
    pub(crate) fn new(planted: Planted, name: String, object: u64) -> Self {
        Self { planted, name, object }
    }

    pub(crate) fn is(&self, planted: Planted, name: &str, object: u64) -> bool {
        self.planted == planted && self.name == name && (self.object == 0 || self.object == object)
    }
}

impl Double {
    /// Calls of this name about `object`, or all if that is 0, are made wrong from now on, until
    /// [`unplant`](Self::unplant) or [`forget`](Self::forget); but for those that are made while a
    /// stream is captured.
    pub fn plant(&self, planted: Planted, name: &str, object: u64) {
        type Control = unsafe extern "C" fn(Planted, *const u8, usize, u64);
        let plant = self.control::<Control>("double_plant");
        // SAFETY: a name of so many bytes.
        unsafe { plant(planted, name.as_ptr(), name.len(), object) };
    }

    /// Calls are made as the caller asks from now on.
    pub fn unplant(&self) {
        // No call has this name.
        self.plant(Planted::Skipped, "", 0);
    }
}
