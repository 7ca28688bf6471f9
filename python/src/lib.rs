//! The native half of the Python package `vkview`, which shows tensors of any library with Vulkan.

mod canvas;
mod choose;
mod error;
mod event;
mod export;
mod fault;
mod fork;
mod inspect;
mod logging;
mod memory;
mod native;
mod options;
mod owned;
mod screen;
mod tensor;
mod view;

use pyo3::prelude::*;

/// The native half of ``vkview``.
#[pymodule(gil_used = true)]
mod _vkview {
    use super::*;

    #[pymodule_export]
    use crate::canvas::{Canvas, CanvasFrame};
    #[pymodule_export]
    use crate::inspect::describe;
    #[pymodule_export]
    use crate::owned::Tensor;
    #[pymodule_export]
    use crate::view::View;

    /// Waits for memory that is being freed; for ``atexit``.
    #[pyfunction]
    fn _end(py: Python<'_>) -> PyResult<()> {
        py.detach(|| crate::native::end(crate::screen::limit()));
        crate::logging::deliver(py)
    }

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::logging::init(module.py())?;
        module.py().import("atexit")?.call_method1("register", (module.getattr("_end")?,))?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
