//! `describe`, which returns how the package interprets an array, without a device.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::tensor::stream::Producer;
use crate::tensor::{Consumer, Role, TensorView};

/// Returns an array's address, device, element type, shape and the stream that wrote it, as the
/// package interprets them. ``pitch`` is the number of bytes from one row to the next, if there are
/// gaps between rows. ``planar`` is true for an image whose channels come first in memory.
///
/// Use it to find out why a tensor is rejected. ``consumer`` is the stream that the producer is
/// asked to order after its own work, if the array does not name the producer's stream, and
/// ``device`` is the number of that stream's CUDA device. ``stream`` is the producer's stream.
#[pyfunction]
#[pyo3(signature = (tensor, *, consumer=None, stream=None, device=None))]
pub(crate) fn describe<'py>(
    tensor: &Bound<'py, PyAny>,
    consumer: Option<usize>,
    stream: Option<&Bound<'py, PyAny>>,
    device: Option<i32>,
) -> PyResult<Bound<'py, PyDict>> {
    let stream = stream.map(crate::tensor::stream::named).transpose()?;
    let view = TensorView::of(tensor, consumer.map(|stream| Consumer { stream, device }), stream, Role::Source)?;
    let entries = PyDict::new(tensor.py());
    entries.set_item("address", view.address)?;
    entries.set_item("nbytes", view.size())?;
    entries.set_item("dtype", view.dtype.name())?;
    entries.set_item("shape", &view.shape)?;
    entries.set_item("pitch", (!view.rows.are_packed()).then_some(view.rows.pitch))?;
    entries.set_item("planar", view.planar)?;
    entries.set_item("readonly", view.read_only)?;
    entries.set_item("device", view.device.name())?;
    entries.set_item(
        "stream",
        match &view.producer {
            Producer::Host => None,
            Producer::Streams(streams) => streams.first().copied(),
            Producer::Unnamed => consumer,
        },
    )?;
    entries.set_item(
        "ordered_by",
        match view.producer {
            Producer::Host => "host",
            Producer::Streams(_) => "stream",
            Producer::Unnamed => "producer",
        },
    )?;
    Ok(entries)
}
