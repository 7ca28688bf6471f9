//! Structures that are chained to others by `pNext`.
#![allow(unsafe_code)]

use std::ffi::c_void;

use ash::vk;

/// The structure of type `T` in a chain.
///
/// # Safety
/// `start` begins a valid chain, or is null, which lives as long as what is returned is used.
pub(super) unsafe fn find<T: vk::TaggedStructure>(start: *const c_void) -> Option<*mut T> {
    let mut next = start.cast_mut().cast::<vk::BaseOutStructure<'_>>();
    while !next.is_null() {
        // SAFETY: the caller's promise.
        let tag = unsafe { (*next).s_type };
        if tag == T::STRUCTURE_TYPE {
            return Some(next.cast());
        }
        // SAFETY: the caller's promise.
        next = unsafe { (*next).p_next };
    }
    None
}
