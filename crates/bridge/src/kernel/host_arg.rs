//! Type-erased arguments of a launch on the CPU backend.
#![allow(unsafe_code)] // Pointers that are sent to the backend's thread.

use std::any::TypeId;
use std::cell::UnsafeCell;

use bytemuck::Pod;

/// Pointer to the start of a slice, or to a mapped image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HostPtr(pub(crate) *mut u8);

// SAFETY: only twins dereference the pointer, by the contract of `Lend::take`.
unsafe impl Send for HostPtr {}
// SAFETY: as above.
unsafe impl Sync for HostPtr {}

/// An argument of a launch on the CPU backend.
#[derive(Debug, Clone, Copy)]
pub(crate) enum HostArg {
    /// A value in the packed arguments.
    Value { offset: usize, size: usize },
    /// All elements of a buffer or of kernel memory.
    Slice { start: HostPtr, len: usize, bytes: usize, element: TypeId },
    /// A mapped image.
    Image { mapping: HostPtr, texel: TypeId },
}

impl HostArg {
    pub(crate) fn slice<T: Pod>(start: *mut T, len: usize) -> Self {
        let bytes = len.saturating_mul(size_of::<T>());
        Self::Slice { start: HostPtr(start.cast()), len, bytes, element: TypeId::of::<T>() }
    }

    /// Returns a description for errors.
    pub(crate) fn kind(&self) -> String {
        match self {
            Self::Value { size, .. } => format!("a value of {size} bytes"),
            Self::Slice { .. } => "a buffer or kernel memory of its own type".into(),
            Self::Image { .. } => "a surface or texture of its own type".into(),
        }
    }

    /// Returns `true` if both refer to the same memory.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Slice { start, bytes, .. }, Self::Slice { start: start2, bytes: bytes2, .. }) => {
                let (one, two) = (start.0.addr(), start2.0.addr());
                one < two.saturating_add(*bytes2) && two < one.saturating_add(*bytes)
            }
            // Different images never share memory.
            (Self::Image { mapping, .. }, Self::Image { mapping: other, .. }) => mapping == other,
            _ => false,
        }
    }
}

/// Memory that only twins access.
#[derive(Debug)]
pub(crate) struct HostCells<T>(Box<[UnsafeCell<T>]>);

// SAFETY: the elements are plain data; only twins, which run one at a time, access them, by the
// contract of `Lend::take`.
unsafe impl<T: Pod> Send for HostCells<T> {}
// SAFETY: as above.
unsafe impl<T: Pod> Sync for HostCells<T> {}

impl<T: Pod> HostCells<T> {
    pub(crate) fn new(contents: &[T]) -> Self {
        Self(contents.iter().map(|element| UnsafeCell::new(*element)).collect())
    }

    pub(crate) fn start(&self) -> *mut T {
        // An `UnsafeCell` has the layout of its contents.
        self.0.as_ptr().cast_mut().cast()
    }
}
