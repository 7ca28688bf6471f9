//! [`BufferSpec`]: the specification of a buffer that an exchange shares.

use std::marker::PhantomData;

use bytemuck::Pod;
use vk_export::BufferAccess;

/// The specification of a buffer of `len` elements of `T`, and of its uses by Vulkan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BufferSpec<T> {
    pub(super) len: usize,
    pub(super) accesses: BufferAccess,
    pub(super) name: Option<String>,
    element: PhantomData<fn() -> T>,
}

impl<T: Pod> BufferSpec<T> {
    /// Creates the spec of a buffer of `len` elements, which must not be zero.
    pub fn new(len: usize, accesses: BufferAccess) -> Self {
        Self { len, accesses, name: None, element: PhantomData }
    }

    /// Returns the number of elements.
    #[allow(clippy::len_without_is_empty)] // Exchanges reject empty specs.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns the Vulkan access to the buffer.
    pub fn accesses(&self) -> BufferAccess {
        self.accesses
    }

    /// Returns a copy of the spec with a different number of elements.
    #[must_use]
    pub fn with_len(&self, len: usize) -> Self {
        Self { len, ..self.clone() }
    }

    /// Sets the name in errors, traces and GPU debuggers, to which the slot's index is appended.
    /// Default: the exchange's name.
    #[must_use]
    pub fn with_name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }
}
