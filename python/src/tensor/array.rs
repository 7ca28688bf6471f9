//! Import with `__array_interface__` and `__cuda_array_interface__`, dictionaries with the address,
//! the shape and the type.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMemoryView, PyTuple};

use crate::error::{Fault, Kind};
use crate::tensor::device::UNKNOWN;
use crate::tensor::dtype::DType;
use crate::tensor::stream::{LEGACY, Producer, explicit, of_interface};
use crate::tensor::{Claims, Device, Keep, Role, conversion, failed};

/// Reads `__array_interface__`, for memory that the CPU can access.
pub(crate) fn on_cpu(object: &Bound<'_, PyAny>, role: Role) -> PyResult<Claims> {
    read(object, "__array_interface__", Device::Cpu, role, |_| Ok(Producer::Host))
}

/// Reads `__cuda_array_interface__`. `stream` overrides the one in it.
///
/// If the entry is `None` or the version is older, the object is assumed to be written on the
/// legacy default stream: numba uses `None` for arrays of that stream.
pub(crate) fn on_cuda(object: &Bound<'_, PyAny>, stream: Option<usize>, role: Role) -> PyResult<Claims> {
    // The interface does not name the device; it is queried from the driver later.
    read(object, "__cuda_array_interface__", Device::Cuda(UNKNOWN), role, |interface| {
        let entry = of_interface(interface)?;
        Ok(Producer::Streams(vec![explicit(stream.or(entry).unwrap_or(LEGACY))?]))
    })
}

/// Returns the argument that makes a view on the GPU of CUDA's device `ordinal`.
pub(crate) fn view_argument(ordinal: i32) -> String {
    if ordinal == UNKNOWN { "device=".to_owned() } else { format!("device=\"cuda:{ordinal}\"") }
}

fn read(
    object: &Bound<'_, PyAny>,
    name: &'static str,
    device: Device,
    role: Role,
    producer: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<Producer>,
) -> PyResult<Claims> {
    let py = object.py();
    let malformed = |error: PyErr, what: &str| {
        Fault::new(Kind::Tensor, format!("`{what}` of {name} is malformed")).caused_by(py, error)
    };
    let interface = object.getattr(name).map_err(|error| failed(py, name, error))?;
    let interface = interface.cast::<PyDict>().map_err(|error| malformed(error.into(), "dict"))?;
    let entry = |key: &str| {
        let missing = || Fault::new(Kind::Tensor, format!("{name} has no `{key}`"));
        PyResult::Ok(interface.get_item(key)?.ok_or_else(missing)?)
    };

    let typestr: String = entry("typestr")?.extract().map_err(|error| malformed(error, "typestr"))?;
    let dtype = DType::from_typestr(&typestr).ok_or_else(|| conversion::unknown_in_interface(&typestr))?;
    let shape = integers(&entry("shape")?).map_err(|error| malformed(error, "shape"))?;
    if device == Device::Cpu && is_buffer(interface.get_item("data")?) {
        return Err(buffer(object, role).into());
    }
    let data = entry("data")?;
    let (address, read_only) = data.extract::<(usize, bool)>().map_err(|error| malformed(error, "data"))?;
    let strides = match interface.get_item("strides")?.filter(|strides| !strides.is_none()) {
        Some(strides) => Some(integers(&strides).map_err(|error| malformed(error, "strides"))?),
        None => None,
    };
    if interface.get_item("mask")?.is_some_and(|mask| !mask.is_none()) {
        return Err(Fault::new(Kind::Tensor, "masked arrays cannot be shown; fill the mask first").into());
    }
    let offset = interface.get_item("offset")?.map_or(Ok(0), |offset| offset.extract::<usize>());
    let offset = offset.map_err(|error| malformed(error, "offset"))?;
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

/// Returns `true` if `data` of `__array_interface__` gives the elements by the buffer protocol. If
/// it is missing, the object itself has the buffer.
fn is_buffer(data: Option<Bound<'_, PyAny>>) -> bool {
    data.is_none_or(|data| {
        let is_address = data.is_instance_of::<PyTuple>();
        data.is_none() || (!is_address && PyMemoryView::from(&data).is_ok())
    })
}

/// Returns the error for elements in a buffer, such as those of Pillow's images.
fn buffer(object: &Bound<'_, PyAny>, role: Role) -> Fault {
    let class = object.get_type();
    let name = class.fully_qualified_name().map_or_else(|_| "?".to_owned(), |name| name.to_string());
    let advice = match role {
        Role::Source => "use numpy.asarray(x)",
        Role::Target => "read into an array of numpy",
    };
    Fault::new(Kind::Tensor, format!("{name} gives its elements in a buffer and not by their address: {advice}"))
}

fn integers(tuple: &Bound<'_, PyAny>) -> PyResult<Vec<i64>> {
    tuple.cast::<PyTuple>()?.iter().map(|item| item.extract::<i64>()).collect()
}
