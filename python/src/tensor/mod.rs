//! Arrays of other libraries: the location, format and producer stream of their memory.
//!
//! [`TensorView::of`] reads `__dlpack__`, `__cuda_array_interface__` or `__array_interface__` and
//! checks the result. It cannot check that the memory exists: an object that describes memory it
//! does not have causes undefined behavior, as with numpy.

pub(crate) mod array;
pub(crate) mod conversion;
pub(crate) mod device;
pub(crate) mod dlpack;
pub(crate) mod dtype;
pub(crate) mod rows;
pub(crate) mod stream;
mod view;

use std::fmt;
use std::sync::Arc;

use pyo3::prelude::*;

use crate::error::{Fault, Kind};
use crate::memory::Memory;
pub(crate) use crate::tensor::device::Device;
use crate::tensor::dtype::DType;
use crate::tensor::stream::Producer;
pub(crate) use crate::tensor::view::TensorView;

/// Maximum number of dimensions, more than any call accepts; DLPack has no limit.
const MAX_DIMENSIONS: usize = 32;

/// The owner of the memory.
#[allow(dead_code, reason = "held, not read")]
pub(crate) enum Keep {
    Dlpack(dlpark::python::ImportedDlpack),
    Object(Py<PyAny>),
    /// Memory of a view's tensor.
    Memory(Arc<Memory>),
}

impl fmt::Debug for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dlpack(_) => "Dlpack",
            Self::Object(_) => "Object",
            Self::Memory(_) => "Memory",
        })
    }
}

/// The description of an array by its object, unchecked.
pub(crate) struct Claims {
    pub(crate) address: usize,
    pub(crate) device: Device,
    pub(crate) dtype: DType,
    pub(crate) shape: Vec<i64>,
    /// Strides in bytes; `None` for C order.
    pub(crate) strides: Option<Vec<i64>>,
    pub(crate) read_only: bool,
    pub(crate) producer: Producer,
    pub(crate) keep: Keep,
}

/// The use of a tensor by a view, for the advice in errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The tensor is shown. A copy of it can be shown instead.
    Source,
    /// The picture is copied into the tensor. A copy of the tensor cannot replace it.
    Target,
}

impl Role {
    /// Returns advice for a tensor that is not on `device`. `call` creates tensors there.
    pub(crate) fn moved(self, call: &str, device: &str) -> String {
        match self {
            Self::Source => format!("use {call}"),
            Self::Target => format!("read into a tensor on {device} and copy that into this one"),
        }
    }
}

/// The stream and device that will read the memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Consumer {
    pub(crate) stream: usize,
    /// The number of the device; `None` accepts memory of any device.
    pub(crate) device: Option<i32>,
}

/// Returns `true` for an instance of a library's class. The library is not imported: its objects
/// only exist if it is loaded.
pub(crate) fn is_of(object: &Bound<'_, PyAny>, library: &str, class: &str) -> PyResult<bool> {
    let modules = object.py().import("sys")?.getattr("modules")?;
    let Ok(library) = modules.get_item(library) else { return Ok(false) };
    match library.getattr_opt(class)? {
        Some(class) => object.is_instance(&class),
        None => Ok(false),
    }
}

/// Returns the error for an exception that the tensor's library raised in `what`.
pub(crate) fn failed(py: Python<'_>, what: &str, error: PyErr) -> PyErr {
    Fault::new(Kind::Tensor, format!("{what} of the tensor failed: {}", error.value(py))).caused_by(py, error)
}

/// Checks that a shape has elements and that its size in bytes fits in `isize`, and returns it.
pub(crate) fn checked_shape(shape: &[i64], dtype: DType) -> Result<Vec<usize>, Fault> {
    let wrong = |reason: String| Fault::new(Kind::Shape, format!("the shape {} {reason}", tuple(shape)));
    if shape.len() > MAX_DIMENSIONS {
        return Err(wrong(format!("has {} dimensions; at most {MAX_DIMENSIONS} are possible", shape.len())));
    }
    let mut bytes = dtype.bytes();
    for &side in shape {
        let side = usize::try_from(side).map_err(|_| wrong("has a negative side".into()))?;
        bytes = bytes
            .checked_mul(side)
            .filter(|&bytes| isize::try_from(bytes).is_ok())
            .ok_or_else(|| wrong(format!("of {dtype} needs more bytes than the address space has")))?;
    }
    if bytes == 0 {
        return Err(wrong("has no elements".into()));
    }
    // No conversion fails: all were checked above.
    Ok(shape.iter().filter_map(|&side| usize::try_from(side).ok()).collect())
}

/// Formats a tuple as Python does.
pub(crate) fn tuple<T: fmt::Display>(items: &[T]) -> String {
    match items {
        [one] => format!("({one},)"),
        several => format!("({})", several.iter().map(T::to_string).collect::<Vec<_>>().join(", ")),
    }
}
