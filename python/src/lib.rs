//! The native half of the Python package `vkview`: tensors of any library, seen through Vulkan.

mod error;
mod export;
mod fork;
mod inspect;
mod memory;
mod owned;
mod tensor;

use pyo3::prelude::*;

/// The native half of ``vkview``.
#[pymodule(gil_used = true)]
mod _vkview {
    #[pymodule_export]
    use crate::inspect::describe;
    #[pymodule_export]
    use crate::owned::Tensor;
}
