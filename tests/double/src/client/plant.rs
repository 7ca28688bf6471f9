//! Planted faults, as tests use them.
//!
//! Unsafe because it calls C.
#![allow(unsafe_code)]

use crate::client::Double;
use crate::plant::Planted;

impl Double {
    /// Alters calls of this name about `object`, or all such calls if it is 0, until
    /// [`unplant`](Self::unplant) or [`forget`](Self::forget). Calls during a stream capture are
    /// not altered.
    pub fn plant(&self, planted: Planted, name: &str, object: u64) {
        type Control = unsafe extern "C" fn(Planted, *const u8, usize, u64);
        let plant = self.control::<Control>("double_plant");
        // SAFETY: a valid name and its length in bytes.
        unsafe { plant(planted, name.as_ptr(), name.len(), object) };
    }

    /// Stops altering calls.
    pub fn unplant(&self) {
        // No call has an empty name.
        self.plant(Planted::Skipped, "", 0);
    }
}
