//! Import with DLPack: `__dlpack__` and its capsules, versioned or not.

use dlpark::ffi::{DLDevice, DLDeviceType};
use dlpark::python::from_dlpack;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::error::{Fault, Kind};
use crate::tensor::array::view_argument;
use crate::tensor::dtype::DType;
use crate::tensor::stream::{LEGACY, Producer, current_of, explicit};
use crate::tensor::{Claims, Consumer, Device, Keep, Role, conversion, failed, is_of};

/// The requested version; producers may return a lower one, or an unversioned capsule.
const MAX_VERSION: (u32, u32) = (1, 3);
/// The `stream=` argument that requests no ordering from the producer.
const NO_SYNC: i64 = -1;

/// Returns the device from `__dlpack_device__`, or `None` if there is no such method.
pub(crate) fn device_of(object: &Bound<'_, PyAny>) -> PyResult<Option<Device>> {
    let failed = |error| failed(object.py(), "__dlpack_device__", error);
    if !object.hasattr("__dlpack_device__").map_err(failed)? {
        return Ok(None);
    }
    let pair = object.call_method0("__dlpack_device__").map_err(failed)?;
    let malformed = |error: PyErr| {
        Fault::new(Kind::Tensor, format!("__dlpack_device__ gave {pair}, not a type and a number"))
            .caused_by(object.py(), error)
    };
    let items = pair.extract::<(Bound<'_, PyAny>, i32)>().map_err(malformed)?;
    // The type is usually an enumeration.
    let kind = items.0.call_method0("__index__").and_then(|kind| kind.extract::<u32>()).map_err(malformed)?;
    Ok(Some(checked_device(DLDevice { device_type: DLDeviceType(kind), device_id: items.1 })?))
}

/// Imports the object's capsule, ordered after the object's work.
///
/// If the stream of that work is known, from `stream` or from the library, the producer is asked
/// for no ordering, and the copy waits for that stream. Otherwise the producer makes `consumer`
/// wait for its work.
pub(crate) fn import(
    object: &Bound<'_, PyAny>,
    consumer: Option<Consumer>,
    stream: Option<usize>,
    role: Role,
) -> PyResult<Claims> {
    let py = object.py();
    let announced = device_of(object)?;
    // Checked before the capsule is requested: some libraries refuse the request with their own
    // errors.
    check_device(announced, consumer, role)?;
    let on_cuda = matches!(announced, Some(Device::Cuda(_)));
    let named = match (announced, stream) {
        (Some(device @ Device::Cuda(_)), None) => current_of(object, device)?.map(explicit).transpose()?,
        (_, stream) => stream,
    };
    let argument = match (on_cuda, named, consumer) {
        (false, ..) => None,
        (true, Some(_), _) => Some(NO_SYNC),
        (true, None, Some(consumer)) => i64::try_from(consumer.stream).ok(),
        // A view of the CPU backend rejects the tensor later because of its device.
        (true, None, None) => None,
    };
    let capsule = capsule_on(object, announced, argument).map_err(|error| {
        let advice = "; a tensor of autograd is shown with .detach()";
        let grad = error.value(py).to_string().contains("grad");
        let advice = if grad { advice } else { "" };
        Fault::new(Kind::Tensor, format!("__dlpack__ of the tensor failed: {}{advice}", error.value(py)))
            .caused_by(py, error)
    })?;
    let managed = from_dlpack(capsule.as_borrowed(), None, None).map_err(|error| {
        Fault::new(Kind::Tensor, format!("what __dlpack__ gave is unusable: {}", error.value(py))).caused_by(py, error)
    })?;
    let claims = {
        let invalid =
            |error: dlpark::tensor::Error| Fault::new(Kind::Tensor, format!("the DLPack tensor is invalid: {error}"));
        let tensor = managed.validate().map_err(invalid)?;
        let dtype = tensor.dtype();
        let known = DType::from_dlpack(dtype).ok_or_else(|| conversion::unknown_in_dlpack(dtype))?;
        let device = checked_device(tensor.device())?;
        if announced.is_some_and(|announced| announced != device) {
            let reason = format!("__dlpack_device__ says {}, the capsule {device}", announced.unwrap_or(device));
            return Err(Fault::new(Kind::Tensor, reason).into());
        }
        let size = known.bytes() as i64;
        let in_bytes = |strides: &[i64]| strides.iter().map(|stride| stride.saturating_mul(size)).collect();
        let offset = usize::try_from(tensor.byte_offset()).ok();
        let address = offset.and_then(|offset| tensor.data_ptr().addr().checked_add(offset));
        (
            address.ok_or_else(|| Fault::new(Kind::Tensor, "the address of the DLPack tensor overflows"))?,
            device,
            known,
            tensor.shape().to_vec(),
            tensor.strides().map(in_bytes),
        )
    };
    let (address, device, dtype, shape, strides) = claims;
    let producer = match (device, named) {
        (Device::Cpu, _) => Producer::Host,
        (Device::Cuda(_), Some(stream)) => Producer::Streams(vec![stream]),
        // Our stream could not be passed, since the device was not known. According to the array
        // API, a producer without a given stream makes the legacy default stream wait for its work.
        (Device::Cuda(_), None) if announced.is_none() => Producer::Streams(vec![LEGACY]),
        (Device::Cuda(_), None) => Producer::Unnamed,
    };
    let read_only = managed.flags().contains(dlpark::DlpackFlags::READ_ONLY);
    Ok(Claims { address, device, dtype, shape, strides, read_only, producer, keep: Keep::Dlpack(managed) })
}

/// Returns an error for a tensor that reports a different GPU than the consumer's.
fn check_device(announced: Option<Device>, consumer: Option<Consumer>, role: Role) -> Result<(), Fault> {
    let (Some(Device::Cuda(theirs)), Some(Consumer { device: Some(ours), .. })) = (announced, consumer) else {
        return Ok(());
    };
    if theirs == ours {
        return Ok(());
    }
    let advice = role.moved(&format!(".to(\"cuda:{ours}\")"), &format!("cuda:{ours}"));
    Err(Fault::new(
        Kind::Device,
        format!(
            "the tensor is on CUDA device {theirs}, the view on CUDA device {ours}, and nothing is copied between GPUs: \
             {advice}, or make the view with {}",
            view_argument(theirs)
        ),
    ))
}

/// Calls `__dlpack__`. torch rejects the call for a tensor on a GPU other than its current device,
/// so the tensor's device is made current during the call.
fn capsule_on<'py>(
    object: &Bound<'py, PyAny>,
    device: Option<Device>,
    stream: Option<i64>,
) -> PyResult<Bound<'py, PyAny>> {
    let Some(Device::Cuda(ordinal)) = device else { return capsule(object, stream) };
    if !is_of(object, "torch", "Tensor")? {
        return capsule(object, stream);
    }
    let py = object.py();
    let current = py.import("torch")?.getattr("cuda")?.call_method1("device", (ordinal,))?;
    current.call_method0("__enter__")?;
    let taken = capsule(object, stream);
    let left = current.call_method1("__exit__", (py.None(), py.None(), py.None()));
    taken.and_then(|capsule| left.map(|_| capsule))
}

/// Calls `__dlpack__`, first with the arguments of version 1.0 and later, then with those of older
/// versions.
fn capsule<'py>(object: &Bound<'py, PyAny>, stream: Option<i64>) -> PyResult<Bound<'py, PyAny>> {
    let arguments = PyDict::new(object.py());
    if let Some(stream) = stream {
        arguments.set_item("stream", stream)?;
    }
    let versioned = arguments.copy()?;
    versioned.set_item("max_version", MAX_VERSION)?;
    match object.call_method("__dlpack__", (), Some(&versioned)) {
        Err(error) if error.is_instance_of::<PyTypeError>(object.py()) => {
            object.call_method("__dlpack__", (), Some(&arguments))
        }
        result => result,
    }
}

fn checked_device(device: DLDevice) -> Result<Device, Fault> {
    if device.device_id < 0 {
        return Err(Fault::new(
            Kind::Tensor,
            format!("the device number {} of the tensor is negative", device.device_id),
        ));
    }
    match device.device_type {
        // Pinned memory may be the target of copies on streams, but `CUDAHOST` too is read as the
        // CPU sees it now.
        DLDeviceType::CPU | DLDeviceType::CUDAHOST => Ok(Device::Cpu),
        DLDeviceType::CUDA | DLDeviceType::CUDAMANAGED => Ok(Device::Cuda(device.device_id)),
        other => Err(Fault::new(
            Kind::Device,
            format!(
                "the tensor is on a device of DLPack's type {}; only CUDA devices and the CPU are supported",
                other.0
            ),
        )),
    }
}
