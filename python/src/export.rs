//! Export with DLPack and the two array interfaces.

// Initialization of C structures.
#![allow(unsafe_code)]

use std::ptr::without_provenance_mut;

use dlpark::allocation::dynamic::Allocation;
use dlpark::ffi::{DLDevice, DLDeviceType};
use dlpark::python::{CudaStreamRequest, ExportRequest};
use dlpark::{DlpackFlags, Managed, ManagedTensorBase};
use pyo3::exceptions::PyBufferError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyInt, PyTuple};

use crate::tensor::Device;
use crate::tensor::dtype::DType;
use crate::tensor::stream::{LEGACY, PER_THREAD, attribute};

/// The address, device, element type and shape of exported memory.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) address: usize,
    pub(crate) device: Device,
    pub(crate) dtype: DType,
    pub(crate) shape: Vec<usize>,
}

impl Layout {
    /// Returns the size in bytes.
    pub(crate) fn size(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.bytes()
    }

    pub(crate) fn dl_device(&self) -> (u32, i32) {
        match self.device {
            Device::Cpu => (DLDeviceType::CPU.0, 0),
            Device::Cuda(ordinal) => (DLDeviceType::CUDA.0, ordinal),
        }
    }

    /// Returns the capsule that `request` asks for. `owner` lives until the consumer releases the
    /// capsule.
    pub(crate) fn capsule<C: Send + 'static>(
        &self,
        py: Python<'_>,
        request: &ExportRequest<'_>,
        owner: C,
    ) -> PyResult<Py<PyAny>> {
        let (device_type, device_id) = self.dl_device();
        let device = DLDevice { device_type: DLDeviceType(device_type), device_id };
        request.validate_zero_copy(device, DlpackFlags::empty())?;
        // Only one of the two closures takes the owner.
        let owner = std::cell::Cell::new(Some(owner));
        let gone = || PyBufferError::new_err("a tensor is exported once a call");
        request.export_zero_copy(
            py,
            device,
            DlpackFlags::empty(),
            || self.managed(device, owner.take().ok_or_else(gone)?),
            || self.managed(device, owner.take().ok_or_else(gone)?),
        )
    }

    fn managed<M: ManagedTensorBase, C: Send + 'static>(&self, device: DLDevice, owner: C) -> PyResult<Managed<M>> {
        let dimensions = self.shape.len();
        let failed = |error: dlpark::allocation::Error| PyBufferError::new_err(error.to_string());
        let allocation = Allocation::<M>::allocate(2 * dimensions).map_err(failed)?;
        let mut tensor = allocation.initialize(Box::new(owner), dimensions).map_err(failed)?;
        let mut stride = 1;
        let extra = tensor.extra_mut();
        for (place, &side) in self.shape.iter().enumerate().rev() {
            // The cast is lossless: a shape's size in bytes fits in `isize`.
            extra[place] = side as i64;
            extra[dimensions + place] = stride;
            stride *= side as i64;
        }
        let shape = extra.as_mut_ptr();
        // SAFETY: the allocation has two integers for each dimension.
        let strides = unsafe { shape.add(dimensions) };
        let raw = tensor.tensor_mut();
        raw.shape = shape;
        raw.strides = strides;
        tensor.set_data(without_provenance_mut(self.address)).set_device(device).set_dtype(self.dtype.to_dlpack());
        // SAFETY: shape and strides are in the allocation of the header; `owner` keeps the memory
        // at `address` alive.
        Ok(unsafe { tensor.finish() })
    }

    /// Returns `__array_interface__` or `__cuda_array_interface__`, or `None` for an element type
    /// that they cannot describe.
    pub(crate) fn interface<'py>(
        &self,
        py: Python<'py>,
        stream: Option<usize>,
    ) -> PyResult<Option<Bound<'py, PyDict>>> {
        let Some(typestr) = self.dtype.to_typestr() else { return Ok(None) };
        let interface = PyDict::new(py);
        interface.set_item("shape", PyTuple::new(py, &self.shape)?)?;
        interface.set_item("typestr", typestr)?;
        interface.set_item("data", (self.address, false))?;
        interface.set_item("strides", py.None())?;
        interface.set_item("version", 3)?;
        if self.device != Device::Cpu {
            interface.set_item("stream", stream)?;
        }
        Ok(Some(interface))
    }
}

/// Converts the `stream=` of `__dlpack__` to a number, if it is a stream object of a library. The
/// default stream of such an object is the legacy one; only the number 0 itself is ambiguous
/// according to the array API.
pub(crate) fn numbered<'py>(stream: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    if stream.is_instance_of::<PyInt>() {
        return Ok(stream.clone());
    }
    match attribute(stream)? {
        Some(number) => Ok((if number == 0 { LEGACY } else { number }).into_pyobject(stream.py())?.into_any()),
        None => Ok(stream.clone()),
    }
}

/// Returns the `CUstream` that a consumer named in `__dlpack__`, or `None` if it requested no
/// ordering.
pub(crate) fn consumer_stream(request: &ExportRequest<'_>) -> PyResult<Option<usize>> {
    Ok(match request.cuda_stream()? {
        CudaStreamRequest::NoSync => None,
        // According to the array API, an omitted stream is the legacy default stream.
        CudaStreamRequest::Omitted | CudaStreamRequest::LegacyDefault => Some(LEGACY),
        CudaStreamRequest::PerThreadDefault => Some(PER_THREAD),
        CudaStreamRequest::Pointer(stream) => Some(stream),
    })
}
