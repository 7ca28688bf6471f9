//! The native half of the Python package `vkview`: tensors of any library, seen through Vulkan.

mod canvas;
mod error;
mod export;
mod fork;
mod inspect;
mod memory;
mod options;
mod owned;
mod picture;
mod screen;
mod tensor;
mod view;

use pyo3::prelude::*;

/// The native half of ``vkview``.
#[pymodule(gil_used = true)]
mod _vkview {
    #[pymodule_export]
    use crate::canvas::{Canvas, CanvasFrame};
    #[pymodule_export]
    use crate::inspect::describe;
    #[pymodule_export]
    use crate::owned::Tensor;
    #[pymodule_export]
    use crate::view::View;

    #[pymodule_init]
    fn init(module: &pyo3::Bound<'_, pyo3::types::PyModule>) -> pyo3::PyResult<()> {
        use pyo3::types::PyModuleMethods;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
