//! The tensor that a view makes and any library writes.

use std::sync::Arc;

use dlpark::python::ExportRequest;
use pyo3::exceptions::PyAttributeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::export::Layout;
use crate::memory::Memory;
use crate::tensor::{Device, tuple};

/// Memory of a view's device that any library writes and reads without a copy.
///
/// It is made by ``View.tensor``. Hand it to ``torch.from_dlpack``, ``cupy.from_dlpack``, ``numba.cuda.as_cuda_array`` or, on the
/// CPU backend, ``numpy.asarray``: what they give are views of the same memory, which lives as long as any of them.
#[pyclass(frozen, module = "vkview", name = "Tensor")]
#[derive(Debug)]
pub(crate) struct Tensor {
    layout: Layout,
    memory: Arc<Memory>,
}

impl Tensor {
    pub(crate) fn new(layout: Layout, memory: Arc<Memory>) -> Self {
        Self { layout, memory }
    }

    pub(crate) fn is_of(&self, device: Device) -> bool {
        self.layout.device == device
    }
}

#[pymethods]
impl Tensor {
    /// The shape, a tuple.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.layout.shape)
    }

    /// The element type's name, such as ``"float32"``.
    #[getter]
    fn dtype(&self) -> &'static str {
        self.layout.dtype.name()
    }

    /// The size in bytes.
    #[getter]
    fn nbytes(&self) -> usize {
        self.memory.size()
    }

    /// ``"cpu"`` or ``"cuda:N"``.
    #[getter]
    fn device(&self) -> String {
        match self.layout.device {
            Device::Cpu => "cpu".into(),
            Device::Cuda(ordinal) => format!("cuda:{ordinal}"),
        }
    }

    /// DLPack: a capsule with this memory, versioned where ``max_version`` is at least (1, 0). Nothing is copied or waited for.
    #[pyo3(signature = (*, stream=None, max_version=None, dl_device=None, copy=None))]
    fn __dlpack__(
        &self,
        py: Python<'_>,
        stream: Option<&Bound<'_, PyAny>>,
        max_version: Option<(u32, u32)>,
        dl_device: Option<(u32, i32)>,
        copy: Option<bool>,
    ) -> PyResult<Py<PyAny>> {
        let request = ExportRequest::parse(stream, max_version, dl_device, copy)?;
        self.layout.capsule(py, &request, Arc::clone(&self.memory))
    }

    /// DLPack: the device's type and number.
    fn __dlpack_device__(&self) -> (u32, i32) {
        self.layout.dl_device()
    }

    /// For numpy; only of a tensor in host memory.
    #[getter]
    fn __array_interface__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.interface_on(py, "__array_interface__", self.layout.device == Device::Cpu)
    }

    /// Version 3, for numba and cupy; only of a tensor in device memory. ``stream`` is None: nothing of the view's is pending.
    #[getter]
    fn __cuda_array_interface__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.interface_on(py, "__cuda_array_interface__", self.layout.device != Device::Cpu)
    }

    fn __repr__(&self) -> String {
        format!(
            "Tensor(shape={}, dtype='{}', device='{}')",
            tuple(&self.layout.shape),
            self.layout.dtype,
            self.device()
        )
    }
}

impl Tensor {
    fn interface_on<'py>(&self, py: Python<'py>, name: &str, there: bool) -> PyResult<Bound<'py, PyDict>> {
        let missing =
            || PyAttributeError::new_err(format!("a tensor of {} on {} has no {name}", self.dtype(), self.device()));
        if !there {
            return Err(missing());
        }
        self.layout.interface(py, None)?.ok_or_else(missing)
    }
}
