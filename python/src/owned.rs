//! [`Tensor`]: memory that a view creates and any library can write.

use std::any::Any;
use std::sync::Arc;

use dlpark::python::ExportRequest;
use pyo3::exceptions::PyAttributeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::error::{Fault, Kind};
use crate::export::{Layout, consumer_stream, numbered};
use crate::memory::Memory;
use crate::native::{Detached, call};
use crate::tensor::stream::{LEGACY, Producer, all_current};
use crate::tensor::{Claims, Device, Keep, tuple};

/// Memory of a view's device that any library can read and write without a copy.
///
/// It is created by ``View.tensor``, or is a frame of ``View.canvas``. Pass it to
/// ``torch.from_dlpack``, ``cupy.from_dlpack``, ``numba.cuda.as_cuda_array`` or, with the CPU
/// backend, ``numpy.asarray``. These return views of the same memory, which is freed with the last
/// of them.
#[pyclass(frozen, module = "vkview", name = "Tensor")]
pub(crate) struct Tensor {
    layout: Layout,
    owner: Detached<Owner>,
}

/// The memory of a [`Tensor`].
pub(crate) enum Owner {
    /// Separate memory.
    Memory(Arc<Memory>),
    /// A slot of a canvas, while its frame is open. Users of the address from an array interface
    /// keep the tensor alive, which keeps the slots.
    Frame(Box<dyn Frame>),
}

/// A canvas's frame that is being written.
pub(crate) trait Frame: Send + Sync {
    /// Makes a stream wait for Vulkan's last use of the slot, and the end of the frame wait for the
    /// stream. Returns the owner of a capsule, which keeps the memory alive.
    fn lend(&self, stream: Option<usize>) -> Result<Box<dyn Any + Send>, Fault>;

    /// Like [`lend`](Self::lend), for a consumer that names no stream. The memory lives at least as
    /// long as this frame. Returns the stream to name in the array interface.
    fn lend_by_interface(&self) -> Result<Option<usize>, Fault>;
}

impl Tensor {
    pub(crate) fn new(layout: Layout, owner: Owner) -> Self {
        Self { layout, owner: Detached::new(owner) }
    }
}

#[pymethods]
impl Tensor {
    /// The shape, as a tuple.
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
        self.layout.size()
    }

    /// ``"cpu"`` or ``"cuda:N"``.
    #[getter]
    fn device(&self) -> String {
        self.layout.device.name()
    }

    /// Returns a DLPack capsule with this memory, without copying it. The capsule is versioned if
    /// ``max_version`` is at least (1, 0).
    ///
    /// ``stream`` waits for the copies from and to the memory that views have enqueued so far. For
    /// a frame of a canvas, it waits for Vulkan's last use of the slot, and the end of the frame
    /// waits for ``stream``, on the GPU. The stream must live until the ``with`` block has been
    /// left.
    #[pyo3(signature = (*, stream=None, max_version=None, dl_device=None, copy=None))]
    fn __dlpack__(
        &self,
        py: Python<'_>,
        stream: Option<&Bound<'_, PyAny>>,
        max_version: Option<(u32, u32)>,
        dl_device: Option<(u32, i32)>,
        copy: Option<bool>,
    ) -> PyResult<Py<PyAny>> {
        let stream = stream.map(numbered).transpose()?;
        let request = ExportRequest::parse(stream.as_ref(), max_version, dl_device, copy)?;
        match &*self.owner {
            Owner::Memory(memory) => {
                let stream = if self.layout.device == Device::Cpu { None } else { consumer_stream(&request)? };
                if let Some(stream) = stream {
                    call(py, || memory.put_behind_copies(stream))??;
                }
                self.layout.capsule(py, &request, Arc::clone(memory))
            }
            Owner::Frame(frame) => {
                let stream = if self.layout.device == Device::Cpu { None } else { consumer_stream(&request)? };
                let owner = call(py, || frame.lend(stream))??;
                self.layout.capsule(py, &request, owner)
            }
        }
    }

    /// Returns the type and number of the device, for DLPack.
    fn __dlpack_device__(&self) -> (u32, i32) {
        self.layout.dl_device()
    }

    /// The array interface for numpy; only available for a tensor in host memory.
    #[getter]
    fn __array_interface__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.interface_on(py, "__array_interface__", self.layout.device == Device::Cpu)
    }

    /// The CUDA array interface, version 3, for numba and cupy; only available for a tensor in
    /// device memory. ``stream`` is None if no copy of a view is pending; otherwise it is the
    /// legacy default stream, which then waits for the copies from and to the memory that views
    /// have enqueued so far. For a frame, it is the stream that the frame was created with, or the
    /// legacy default stream if none was given.
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
    /// Returns the description for a view that reads the tensor, after the work of `stream`, or
    /// after all streams that may have written the tensor.
    pub(crate) fn claims(&self, py: Python<'_>, stream: Option<usize>) -> PyResult<Claims> {
        let Owner::Memory(memory) = &*self.owner else {
            let reason = "a canvas's frame is shown by leaving its `with` block, not by a call";
            return Err(Fault::new(Kind::Usage, reason).into());
        };
        let producer = match (self.layout.device, stream) {
            (Device::Cpu, _) => Producer::Host,
            (Device::Cuda(_), Some(stream)) => Producer::Streams(vec![stream]),
            (Device::Cuda(ordinal), None) => Producer::Streams(all_current(py, ordinal)?),
        };
        Ok(Claims {
            address: self.layout.address,
            device: self.layout.device,
            dtype: self.layout.dtype,
            shape: self.layout.shape.iter().map(|&side| side as i64).collect(),
            strides: None,
            read_only: false,
            producer,
            keep: Keep::Memory(Arc::clone(memory)),
        })
    }

    fn interface_on<'py>(&self, py: Python<'py>, name: &str, there: bool) -> PyResult<Bound<'py, PyDict>> {
        let missing =
            || PyAttributeError::new_err(format!("a tensor of {} on {} has no {name}", self.dtype(), self.device()));
        if !there {
            return Err(missing());
        }
        let stream = match &*self.owner {
            Owner::Memory(memory) => {
                let pending = self.layout.device != Device::Cpu && call(py, || memory.put_behind_copies(LEGACY))??;
                pending.then_some(LEGACY)
            }
            Owner::Frame(frame) => call(py, || frame.lend_by_interface())??,
        };
        self.layout.interface(py, stream)?.ok_or_else(missing)
    }
}
