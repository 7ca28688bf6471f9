//! Arrays of other libraries: the location, format and producer stream of their memory.
//!
//! [`TensorView::of`] reads `__dlpack__`, `__cuda_array_interface__` or `__array_interface__` and
//! checks the result. It cannot check that the memory exists: an object that describes memory it
//! does not have causes undefined behavior, as with numpy.

pub(crate) mod array;
pub(crate) mod conversion;
pub(crate) mod dlpack;
pub(crate) mod dtype;
pub(crate) mod rows;
pub(crate) mod stream;

use std::fmt;
use std::sync::Arc;

use bridge::Compute;
use pyo3::prelude::*;

use crate::error::{Fault, Kind};
use crate::memory::Memory;
use crate::owned::Tensor;
use crate::tensor::array::UNKNOWN;
use crate::tensor::dtype::DType;
use crate::tensor::rows::Rows;
use crate::tensor::stream::Producer;

/// Maximum number of dimensions, more than any call accepts; DLPack has no limit.
const MAX_DIMENSIONS: usize = 32;

/// The memory that a tensor is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Device {
    /// Memory that the CPU can access, pinned or not.
    Cpu,
    /// A CUDA device, by its ordinal in this process.
    Cuda(i32),
}

impl Device {
    /// Returns the device of the memory that a compute side uses.
    pub(crate) fn of(compute: &Compute) -> Self {
        let ordinal = compute.cuda().map(|cuda| i32::try_from(cuda.device().ordinal()).unwrap_or(UNKNOWN));
        ordinal.map_or(Self::Cpu, Self::Cuda)
    }

    /// Returns the name of the device in torch: `"cpu"` or `"cuda:1"`, or `"cuda"` if the ordinal
    /// is not known.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Cpu => "cpu".to_owned(),
            Self::Cuda(UNKNOWN) => "cuda".to_owned(),
            Self::Cuda(ordinal) => format!("cuda:{ordinal}"),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("the CPU"),
            Self::Cuda(ordinal) => write!(f, "CUDA device {ordinal}"),
        }
    }
}

/// An array of another library, and the owner that keeps its memory alive.
///
/// The elements are in C order, or in the C order of planes if `planar` is set. There may be equal
/// gaps between rows of equal length. There is at least one element, and the number of bytes fits
/// in `isize`.
#[derive(Debug)]
pub(crate) struct TensorView {
    pub(crate) address: usize,
    pub(crate) device: Device,
    pub(crate) dtype: DType,
    pub(crate) shape: Vec<usize>,
    pub(crate) rows: Rows,
    /// Whether the shape is (height, width, channels), but the rows are those of (channels, height,
    /// width).
    pub(crate) planar: bool,
    pub(crate) read_only: bool,
    pub(crate) producer: Producer,
    pub(crate) role: Role,
    /// The owner of the memory.
    keep: Option<Keep>,
}

impl Drop for TensorView {
    fn drop(&mut self) {
        let keep = self.keep.take();
        // Deleters of capsules are code of other libraries, and objects are Python objects. Both
        // may call a view, so none of its locks may be held here. If the interpreter has ended,
        // nothing is released.
        let mut keep = std::mem::ManuallyDrop::new(keep);
        let _ = Python::try_attach(|_| drop(keep.take()));
    }
}

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

impl TensorView {
    /// Reads and checks the object. `stream` is the producer's stream, if given by the caller.
    pub(crate) fn of(
        object: &Bound<'_, PyAny>,
        consumer: Option<Consumer>,
        stream: Option<usize>,
        role: Role,
    ) -> PyResult<Self> {
        let has = |name| object.hasattr(name).map_err(|error| failed(object.py(), name, error));
        let on_cpu_with_interface = |device| device == Some(Device::Cpu);
        let mut claims = if let Ok(tensor) = object.cast::<Tensor>() {
            tensor.get().claims(object.py(), stream)?
        } else if has("__dlpack__")? {
            // Preferred for numpy, whose older versions create no capsules for read-only arrays.
            if on_cpu_with_interface(dlpack::device_of(object)?) && has("__array_interface__")? {
                array::on_cpu(object, role)?
            } else {
                dlpack::import(object, consumer, stream, role)?
            }
        } else if has("__cuda_array_interface__")? {
            array::on_cuda(object, stream, role)?
        } else if has("__array_interface__")? {
            array::on_cpu(object, role)?
        } else {
            return Err(not_a_tensor(object).into());
        };
        // jax's arrays are immutable, but its capsules do not report that.
        claims.read_only |= is_of(object, "jax", "Array")?;
        Ok(Self::checked(claims, advice(object, role)?, role)?)
    }

    fn checked(claims: Claims, advice: &str, role: Role) -> Result<Self, Fault> {
        let shape = checked_shape(&claims.shape, claims.dtype)?;
        let (rows, planar) = match &claims.strides {
            Some(strides) => rows_of(&shape, strides, claims.dtype, advice)?,
            None => (Rows::packed(shape.iter().product::<usize>() * claims.dtype.bytes()), false),
        };
        if claims.address.checked_add(rows.last()).is_none() {
            return Err(Fault::new(Kind::Tensor, "the tensor says that its elements are beyond the address space"));
        }
        if claims.address == 0 {
            return Err(Fault::new(Kind::Tensor, "the tensor says that its elements are at address 0"));
        }
        if !claims.address.is_multiple_of(claims.dtype.bytes()) {
            let reason =
                format!("the address {:#x} is not a multiple of {} bytes", claims.address, claims.dtype.bytes());
            return Err(Fault::new(
                Kind::Layout,
                format!("{reason}, the size of {}; copy the tensor first", claims.dtype),
            ));
        }
        Ok(Self {
            address: claims.address,
            device: claims.device,
            dtype: claims.dtype,
            shape,
            rows,
            planar,
            read_only: claims.read_only,
            producer: claims.producer,
            role,
            keep: Some(claims.keep),
        })
    }

    /// Never releases the memory, since a copy whose end was not seen may still use it.
    pub(crate) fn leak(&mut self) {
        if let Some(keep) = self.keep.take() {
            log::error!("a tensor is leaked, since a copy of it could not be seen to end: {}", self.describe());
            std::mem::forget(keep);
        }
    }

    /// Returns the memory, if a view has allocated it.
    pub(crate) fn memory(&self) -> Option<&Memory> {
        match &self.keep {
            Some(Keep::Memory(memory)) => Some(memory),
            _ => None,
        }
    }

    /// Returns the size in bytes, without gaps.
    pub(crate) fn size(&self) -> usize {
        self.rows.size()
    }

    /// Returns a description for messages, such as `uint8 (2, 3, 4)`.
    pub(crate) fn describe(&self) -> String {
        format!("{} {}", self.dtype, tuple(&self.shape))
    }
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

fn not_a_tensor(object: &Bound<'_, PyAny>) -> Fault {
    let class = object.get_type();
    let name = class.name().map_or_else(|_| "?".to_owned(), |name| name.to_string());
    Fault::new(
        Kind::Tensor,
        format!(
            "{name} is not a tensor: it has none of __dlpack__, __cuda_array_interface__ and __array_interface__; \
             numpy.asarray(x) or torch.as_tensor(x) makes one"
        ),
    )
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

/// Returns the rows of a tensor, or, for an image whose channels come first in memory, those of its
/// planes.
fn rows_of(shape: &[usize], strides: &[i64], dtype: DType, advice: &str) -> Result<(Rows, bool), Fault> {
    let fault = match Rows::of(shape, strides, dtype, advice) {
        Ok(rows) => return Ok((rows, false)),
        Err(fault) => fault,
    };
    let (&[height, width, channels], &[down, right, next]) = (shape, strides) else { return Err(fault) };
    match Rows::of(&[channels, height, width], &[next, down, right], dtype, advice) {
        Ok(rows) => Ok((rows, true)),
        Err(_) => Err(fault),
    }
}

/// Returns advice with the call of the object's library that makes a tensor contiguous.
fn advice(object: &Bound<'_, PyAny>, role: Role) -> PyResult<&'static str> {
    if role == Role::Target {
        return Ok("read into a contiguous tensor and copy that into this one");
    }
    let module = object.get_type().module()?;
    Ok(match module.to_str()?.split('.').next().unwrap_or_default() {
        "torch" => "make it so with .contiguous()",
        "cupy" => "make it so with cupy.ascontiguousarray(x)",
        "numpy" => "make it so with numpy.ascontiguousarray(x)",
        _ => "make it so with .contiguous() (torch), numpy.ascontiguousarray(x) or cupy.ascontiguousarray(x)",
    })
}

/// Formats a tuple as Python does.
pub(crate) fn tuple<T: fmt::Display>(items: &[T]) -> String {
    match items {
        [one] => format!("({one},)"),
        several => format!("({})", several.iter().map(T::to_string).collect::<Vec<_>>().join(", ")),
    }
}
