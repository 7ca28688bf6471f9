//! Import with `__array_interface__` and `__cuda_array_interface__`, dictionaries with the address,
//! the shape and the type.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::error::{Fault, Kind};
use crate::tensor::dtype::DType;
use crate::tensor::stream::{LEGACY, Producer, explicit, of_interface};
use crate::tensor::{Claims, Device, Keep};

/// Reads `__array_interface__`, for memory that the CPU can access.
pub(crate) fn on_cpu(object: &Bound<'_, PyAny>) -> PyResult<Claims> {
    read(object, "__array_interface__", Device::Cpu, |_| Ok(Producer::Host))
}

/// Reads `__cuda_array_interface__`. `stream` overrides the one in it.
///
/// If the entry is `None` or the version is older, the object is assumed to be written on the
/// legacy default stream: numba uses `None` for arrays of that stream.
pub(crate) fn on_cuda(object: &Bound<'_, PyAny>, stream: Option<usize>) -> PyResult<Claims> {
    // The interface does not name the device; it is queried from the driver later.
    read(object, "__cuda_array_interface__", Device::Cuda(UNKNOWN), |interface| {
        let entry = of_interface(interface)?;
        Ok(Producer::Streams(vec![explicit(stream.or(entry).unwrap_or(LEGACY))?]))
    })
}

/// The ordinal for a tensor whose device is not known.
pub(crate) const UNKNOWN: i32 = -1;

/// Returns the argument that makes a view on the GPU of CUDA's device `ordinal`.
pub(crate) fn view_argument(ordinal: i32) -> String {
    if ordinal == UNKNOWN { "device=".to_owned() } else { format!("device=\"cuda:{ordinal}\"") }
}

fn read(
    object: &Bound<'_, PyAny>,
    name: &'static str,
    device: Device,
    producer: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<Producer>,
) -> PyResult<Claims> {
    let py = object.py();
    let malformed = |error: PyErr, what: &str| {
        Fault::new(Kind::Tensor, format!("`{what}` of {name} is malformed")).caused_by(py, error)
    };
    let interface = object.getattr(name).map_err(|error| {
        Fault::new(Kind::Tensor, format!("{name} of the tensor failed: {}", error.value(py))).caused_by(py, error)
    })?;
    let interface = interface.cast::<PyDict>().map_err(|error| malformed(error.into(), "dict"))?;
    let entry = |key: &str| {
        let missing = || Fault::new(Kind::Tensor, format!("{name} has no `{key}`"));
        PyResult::Ok(interface.get_item(key)?.ok_or_else(missing)?)
    };

    let typestr: String = entry("typestr")?.extract().map_err(|error| malformed(error, "typestr"))?;
    let dtype = DType::from_typestr(&typestr)
        .ok_or_else(|| Fault::new(Kind::DType, format!("elements of type `{typestr}` cannot be shown")))?;
    let shape = integers(&entry("shape")?).map_err(|error| malformed(error, "shape"))?;
    let data = entry("data")?;
    let (address, read_only) = data.extract::<(usize, bool)>().map_err(|error| malformed(error, "data"))?;
    let strides = match interface.get_item("strides")?.filter(|strides| !strides.is_none()) {
        Some(strides) => Some(integers(&strides).map_err(|error| malformed(error, "strides"))?),
        None => None,
    };
    if interface.get_item("mask")?.is_some_and(|mask| !mask.is_none()) {
        return Err(Fault::new(Kind::Tensor, "masked arrays cannot be shown; fill the mask first").into());
    }
    let offset = interface.get_item("offset")?.map_or(Ok(0), |offset| offset.extract::<usize>())?;
    let producer = producer(interface.as_any())?;
    Ok(Claims {
        address: address.checked_add(offset).ok_or_else(|| Fault::new(Kind::Tensor, "the address overflows"))?,
        device,
        dtype,
        shape,
        strides,
        read_only,
        producer,
        keep: Keep::Object(object.clone().unbind()),
    })
}

fn integers(tuple: &Bound<'_, PyAny>) -> PyResult<Vec<i64>> {
    tuple.cast::<PyTuple>()?.iter().map(|item| item.extract::<i64>()).collect()
}
