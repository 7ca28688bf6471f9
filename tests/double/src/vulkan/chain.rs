//! Structures in a `pNext` chain.
#![allow(unsafe_code)]

use std::ffi::c_void;

use ash::vk;

/// Returns the structure of type `T` in a chain.
///
/// # Safety
///
/// `start` is null or begins a valid chain that lives as long as the result is used.
pub(super) unsafe fn find<T: vk::TaggedStructure>(start: *const c_void) -> Option<*mut T> {
    let mut next = start.cast_mut().cast::<vk::BaseOutStructure<'_>>();
    while !next.is_null() {
        // SAFETY: guaranteed by the caller.
        let tag = unsafe { (*next).s_type };
        if tag == T::STRUCTURE_TYPE {
            return Some(next.cast());
        }
        // SAFETY: guaranteed by the caller.
        next = unsafe { (*next).p_next };
    }
    None
}
