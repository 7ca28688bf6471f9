//! [`BufferSpec`]: the specification of a buffer that an exchange shares.

use std::marker::PhantomData;

use bytemuck::Pod;
use vk_export::BufferAccess;

/// The specification of a buffer of `len` elements of `T`, and of its uses by Vulkan.
///
/// Elements are plain data ([`Pod`]), which a program's own type can derive. For cudarc's copies
/// between the buffer and the host, the type also implements cudarc's `DeviceRepr`.
///
/// # Examples
/// ```
/// # #![allow(unsafe_code)]
/// use bridge::bytemuck::{Pod, Zeroable};
/// use bridge::cudarc::driver::DeviceRepr;
/// use bridge::{BufferAccess, BufferSpec};
///
/// // Without the second attribute, the program depends on bytemuck itself.
/// #[derive(Clone, Copy, Pod, Zeroable)]
/// #[bytemuck(crate = "bridge::bytemuck")]
/// #[repr(C)]
/// struct Vertex {
///     position: [f32; 3],
///     color: [u8; 4],
/// }
///
/// // SAFETY: kernels see the same layout, as for every `Pod`.
/// unsafe impl DeviceRepr for Vertex {}
///
/// let spec = BufferSpec::<Vertex>::new(1000, BufferAccess::VERTEX_INPUT);
/// assert_eq!(spec.len(), 1000);
/// ```
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
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns `true` if there are no elements. Exchanges reject such a spec.
    pub fn is_empty(&self) -> bool {
        self.len == 0
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

    /// Returns the name that was set, if any.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Sets the name in errors, traces and GPU debuggers, to which the slot's index is appended.
    /// Default: the exchange's name.
    #[must_use]
    pub fn with_name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }
}
