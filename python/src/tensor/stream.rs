//! Streams of other libraries.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use crate::error::{Fault, Kind, is_interrupt};
use crate::tensor::{Device, failed, is_of};

/// The handle of CUDA's legacy default stream (`CU_STREAM_LEGACY`), as numbered by DLPack and
/// `__cuda_array_interface__`.
pub(crate) const LEGACY: usize = 1;
/// The handle of the calling thread's default stream (`CU_STREAM_PER_THREAD`).
pub(crate) const PER_THREAD: usize = 2;

/// How reading a tensor is ordered after the work that writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Producer {
    /// No ordering is needed: the CPU wrote the tensor.
    Host,
    /// `CUstream`s, usually one: our stream waits for them, and they wait for our copy.
    Streams(Vec<usize>),
    /// The library made our stream wait for its own stream, which it does not name: the host waits
    /// for our copy.
    Unnamed,
}

/// Returns the `CUstream` of a `stream=` argument: a number, or a library's object that wraps one.
///
/// 0 is the legacy default stream, as in torch.
pub(crate) fn named(stream: &Bound<'_, PyAny>) -> PyResult<usize> {
    let number = match stream.extract::<usize>() {
        Ok(number) => number,
        Err(error) if is_interrupt(stream.py(), &error) => return Err(error),
        Err(_) => attribute(stream)?.ok_or_else(not_a_stream)?,
    };
    Ok(explicit(if number == 0 { LEGACY } else { number })?)
}

/// Returns an error for the per-thread default stream: its number refers to a different stream on
/// each thread, and work may be joined on a different thread than the one that enqueued it.
pub(crate) fn explicit(stream: usize) -> Result<usize, Fault> {
    if stream != PER_THREAD {
        return Ok(stream);
    }
    let reason = "stream 2 is the per-thread default stream, which names another stream on each thread";
    Err(Fault::new(Kind::Usage, format!("{reason}: use a stream of its own, or the legacy default stream (1)")))
}

fn not_a_stream() -> Fault {
    Fault::new(
        Kind::Tensor,
        "stream must be the address of a CUstream, a torch.cuda.Stream, a cupy.cuda.Stream, a numba stream or an object \
         with __cuda_stream__",
    )
}

/// Returns the `CUstream` of a library's object that wraps one, or `None` for other objects.
pub(crate) fn attribute(stream: &Bound<'_, PyAny>) -> PyResult<Option<usize>> {
    address_of(stream).map_err(|error| not_a_stream().caused_by(stream.py(), error))
}

/// Like [`attribute`], with the object's own exceptions.
fn address_of(stream: &Bound<'_, PyAny>) -> PyResult<Option<usize>> {
    if let Some(protocol) = stream.getattr_opt("__cuda_stream__")? {
        // By cuda.core's protocol, a function that returns the version and the address.
        let pair = if protocol.is_callable() { protocol.call0()? } else { protocol };
        let (_version, address) = pair.extract::<(usize, usize)>()?;
        return Ok(Some(address));
    }
    for name in ["cuda_stream", "ptr"] {
        if let Some(value) = stream.getattr_opt(name)? {
            return value.extract().map(Some);
        }
    }
    // Numba's streams keep a ctypes pointer, and convert to an integer. Floats and fractions do
    // too, but are not streams.
    if stream.hasattr("__int__")? && !stream.hasattr("__float__")? {
        return stream.call_method0("__int__")?.extract().map(Some);
    }
    Ok(None)
}

/// Returns the stream that the object's library would enqueue its next work on, if the library can
/// report it.
pub(crate) fn current_of(object: &Bound<'_, PyAny>, device: Device) -> PyResult<Option<usize>> {
    let Device::Cuda(ordinal) = device else { return Ok(None) };
    if is_of(object, "torch", "Tensor")? {
        let current = object.py().import("torch")?.getattr("cuda")?.call_method1("current_stream", (ordinal,));
        return named(&current.map_err(|error| no_current(object.py(), "torch", error))?).map(Some);
    }
    // Version 3 contains the stream: cupy's current one, or the stream of numba's array.
    match object.getattr_opt("__cuda_array_interface__") {
        Ok(Some(interface)) => of_interface(&interface),
        Err(error) if is_interrupt(object.py(), &error) => Err(error),
        Ok(None) | Err(_) => Ok(None),
    }
}

fn no_current(py: Python<'_>, library: &str, error: PyErr) -> PyErr {
    failed(py, &format!("the query of {library}'s current stream on the device"), error)
}

/// Returns the streams on which a library may have written a tensor of the view: the current
/// streams of torch and cupy, if they are loaded, and the legacy default stream, which numba uses.
pub(crate) fn all_current(py: Python<'_>, ordinal: i32) -> PyResult<Vec<usize>> {
    let modules = py.import("sys")?.getattr("modules")?;
    let mut streams = vec![LEGACY];
    // An entry is None if the program has disabled a library, and has no attributes yet while
    // another thread imports it; in both cases no work of that library is enqueued.
    let module = |name| match modules.get_item(name) {
        Ok(library) => library.getattr_opt("cuda"),
        Err(_) => Ok(None),
    };
    if let Some(cuda) = module("torch")?
        && let Some(is_initialized) = cuda.getattr_opt("is_initialized")?
        && is_initialized.call0()?.is_truthy()?
        && let Some(current_stream) = cuda.getattr_opt("current_stream")?
    {
        let current = current_stream.call1((ordinal,));
        streams.push(named(&current.map_err(|error| no_current(py, "torch", error))?)?);
    }
    if let Some(cuda) = module("cupy")?
        && let Some(current_stream) = cuda.getattr_opt("get_current_stream")?
    {
        let current = match current_stream.call1((ordinal,)) {
            // Older versions only return the stream of the current device.
            Err(error) if error.is_instance_of::<PyTypeError>(py) => current_stream.call0(),
            current => current,
        };
        streams.push(named(&current.map_err(|error| no_current(py, "cupy", error))?)?);
    }
    streams.sort_unstable();
    streams.dedup();
    Ok(streams)
}

/// Returns the `stream` entry of a `__cuda_array_interface__`.
pub(crate) fn of_interface(interface: &Bound<'_, PyAny>) -> PyResult<Option<usize>> {
    let py = interface.py();
    let malformed = |error: PyErr| {
        let reason = "__cuda_array_interface__ is not a dict with a number as `version`";
        Fault::new(Kind::Tensor, reason).caused_by(py, error)
    };
    let version = interface.get_item("version").and_then(|version| version.extract::<i64>()).map_err(malformed)?;
    let entry = interface.call_method1("get", ("stream",)).map_err(malformed)?;
    if version < 3 || entry.is_none() {
        return Ok(None);
    }
    match entry.extract::<usize>() {
        Ok(0) | Err(_) => Err(Fault::new(
            Kind::Tensor,
            format!("`stream` of __cuda_array_interface__ is {entry}; it must be None or a number above 0"),
        )
        .into()),
        Ok(stream) => Ok(Some(stream)),
    }
}
