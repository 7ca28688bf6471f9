//! Arguments of a launch on the CPU backend, without its types.
#![allow(unsafe_code)] // Pointers that cross to the backend's thread.

use std::any::TypeId;
use std::cell::UnsafeCell;

use bytemuck::Pod;

/// The start of a slice, or a mapped image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HostPtr(pub(crate) *mut u8);

// SAFETY: it is dereferenced by twins alone, by the contract of `Lend::take`.
unsafe impl Send for HostPtr {}
// SAFETY: as above.
unsafe impl Sync for HostPtr {}

/// An argument of a launch on the CPU backend.
#[derive(Debug, Clone, Copy)]
pub(crate) enum HostArg {
    /// Bytes among the packed arguments.
    Value { offset: usize, size: usize },
    /// All elements of a buffer, or of memory.
    Slice { start: HostPtr, len: usize, bytes: usize, element: TypeId },
    /// A mapped image.
    Image { mapping: HostPtr, texel: TypeId },
}

impl HostArg {
    pub(crate) fn slice<T: Pod>(start: *mut T, len: usize) -> Self {
        let bytes = len.saturating_mul(size_of::<T>());
        Self::Slice { start: HostPtr(start.cast()), len, bytes, element: TypeId::of::<T>() }
    }

    /// For errors.
    pub(crate) fn kind(&self) -> String {
        match self {
            Self::Value { size, .. } => format!("a value of {size} bytes"),
            Self::Slice { .. } => "a buffer or kernel memory of its own type".into(),
            Self::Image { .. } => "a surface or texture of its own type".into(),
        }
    }

    /// Returns `true` if both reach the same memory.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Slice { start, bytes, .. }, Self::Slice { start: start2, bytes: bytes2, .. }) => {
                let (one, two) = (start.0.addr(), start2.0.addr());
                one < two.saturating_add(*bytes2) && two < one.saturating_add(*bytes)
            }
            // No two images share memory.
            (Self::Image { mapping, .. }, Self::Image { mapping: other, .. }) => mapping == other,
            _ => false,
        }
    }
}

/// Memory of twins alone.
#[derive(Debug)]
pub(crate) struct HostCells<T>(Box<[UnsafeCell<T>]>);

// SAFETY: plain data; twins, which run one at a time, reach it by the contract of `Lend::take`.
unsafe impl<T: Pod> Send for HostCells<T> {}
// SAFETY: as above.
unsafe impl<T: Pod> Sync for HostCells<T> {}

impl<T: Pod> HostCells<T> {
    pub(crate) fn new(contents: &[T]) -> Self {
        Self(contents.iter().map(|element| UnsafeCell::new(*element)).collect())
    }

    pub(crate) fn start(&self) -> *mut T {
        // An `UnsafeCell` has the layout of what is in it.
        self.0.as_ptr().cast_mut().cast()
    }
}
