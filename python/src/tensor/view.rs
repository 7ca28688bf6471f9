//! [`TensorView`]: an array of another library after all checks that need no driver.

use std::mem::ManuallyDrop;

use pyo3::prelude::*;

use crate::error::{Fault, Kind};
use crate::memory::Memory;
use crate::owned::Tensor;
use crate::tensor::device::Device;
use crate::tensor::dtype::DType;
use crate::tensor::rows::Rows;
use crate::tensor::stream::Producer;
use crate::tensor::{Claims, Consumer, Keep, Role, array, checked_shape, dlpack, failed, is_of, tuple};

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
        let mut keep = ManuallyDrop::new(keep);
        let _ = Python::try_attach(|_| drop(keep.take()));
    }
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
