//! Parsing and checking of the options of Python calls.

use bridge::{Backend, DeviceSelector};
use bridge_view::{Camera, ColorMap, Look, MAX_SIDE, PointLook};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::error::{Fault, Kind};
use crate::screen::device::Wanted;
use crate::screen::slots::Attribute;
use crate::tensor::dtype::DType;
use crate::tensor::tuple;

pub(crate) fn backend_of(name: Option<&str>) -> PyResult<Backend> {
    match name {
        None => Ok(Backend::Auto),
        Some("cuda") => Ok(Backend::Cuda),
        Some("host") => Ok(Backend::Host),
        Some(other) => {
            Err(PyValueError::new_err(format!("backend is {other:?}; it must be \"cuda\", \"host\" or None")))
        }
    }
}

/// Checks the size of a view's picture.
pub(crate) fn size_of(width: i64, height: i64) -> Result<[u32; 2], Fault> {
    let side = |side| u32::try_from(side).ok().filter(|side| (1..=MAX_SIDE).contains(side));
    let wrong = || Fault::new(Kind::Shape, format!("a view of {width}x{height} pixels: a side has 1 to {MAX_SIDE}"));
    Ok(side(width).zip(side(height)).ok_or_else(wrong)?.into())
}

/// Parses the device of a view: an ordinal of CUDA, or an object with the text of a device, such as
/// a `torch.device`. Returns the backend that results from both.
pub(crate) fn device_of(device: Option<&Bound<'_, PyAny>>, backend: Backend) -> PyResult<(Wanted, Backend)> {
    let Some(device) = device else { return Ok((Wanted::Vulkan(DeviceSelector::Best), backend)) };
    let text = device.str()?.extract::<String>()?;
    Wanted::parse(&text, backend).map_err(|reason| PyValueError::new_err(format!("device={text:?}: {reason}")))
}

pub(crate) fn look(exposure: f32, linear: bool, colormap: Option<&str>) -> PyResult<Look> {
    let color_map = match colormap {
        None => ColorMap::Gray,
        Some("viridis") => ColorMap::Viridis,
        Some(other) => {
            return Err(PyValueError::new_err(format!("colormap is {other:?}; it must be \"viridis\" or None")));
        }
    };
    if !exposure.is_finite() {
        return Err(PyValueError::new_err(format!("exposure is {exposure}; it must be finite")));
    }
    Ok(Look { exposure, linear, color_map })
}

/// Parses an element type from a name, or from an object whose name ends in one: `torch.float32`,
/// `numpy.float32`, `numpy.dtype("float32")`.
pub(crate) fn dtype_of(dtype: Option<&Bound<'_, PyAny>>, default: DType) -> PyResult<DType> {
    let Some(dtype) = dtype else { return Ok(default) };
    let text: String = match dtype.getattr_opt("__name__")? {
        Some(name) => name.extract()?,
        None => dtype.str()?.extract()?,
    };
    let names = tuple(&["uint8", "float16", "float32"]);
    DType::from_name(&text)
        .ok_or_else(|| Fault::new(Kind::DType, format!("unknown type {text}; use one such as {names}")).into())
}

/// Returns the separate tensor with colors or values of points, if any.
pub(crate) fn attribute<'a, 'py>(
    colors: Option<&'a Bound<'py, PyAny>>,
    values: Option<&'a Bound<'py, PyAny>>,
) -> PyResult<Option<(&'a Bound<'py, PyAny>, Attribute)>> {
    match (colors, values) {
        (None, None) => Ok(None),
        (Some(colors), None) => Ok(Some((colors, Attribute::Colors))),
        (None, Some(values)) => Ok(Some((values, Attribute::Values))),
        (Some(_), Some(_)) => Err(PyValueError::new_err("points have colors or values, not both")),
    }
}

pub(crate) fn point_look(camera: Camera, size: i64, color: [f32; 3]) -> PyResult<PointLook> {
    let Camera { target: [x, y, z], distance, yaw, pitch, field_of_view } = camera;
    let finite = [x, y, z, distance, yaw, pitch].iter().all(|number| number.is_finite());
    if !finite || distance <= 0.0 || !(0.01..=3.0).contains(&field_of_view) {
        return Err(PyValueError::new_err(
            "all numbers of the camera must be finite, distance above 0, and field_of_view from 0.01 to 3",
        ));
    }
    let wrong = || PyValueError::new_err(format!("size is {size}; it must be from 1 to 64 pixels"));
    let size = u32::try_from(size).ok().filter(|size| (1..=64).contains(size)).ok_or_else(wrong)?;
    // Rounded; NaN becomes 0.
    let byte = |value: f32| (value.clamp(0.0, 1.0) * 255.0).round() as u8;
    let [red, green, blue] = color.map(byte);
    Ok(PointLook { camera, size, color: [red, green, blue, 255] })
}
