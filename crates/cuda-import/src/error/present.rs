//! The available devices, for the error that a requested device does not exist.

use std::fmt;

use uuid::Uuid;

/// An available device, listed in the error that another device does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PresentDevice {
    /// Name of the device, from `cuDeviceGetName`.
    pub name: String,
    /// UUID of the device, from `cuDeviceGetUuid_v2`.
    pub uuid: Uuid,
}

impl fmt::Display for PresentDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.uuid)
    }
}

pub(super) fn list(present: &[PresentDevice]) -> String {
    if present.is_empty() {
        return "none".to_owned();
    }
    present.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Returns what to do if no device has this UUID.
pub(super) fn uuid_advice(uuid: &Uuid) -> &'static str {
    if uuid.is_nil() {
        "A UUID of zeros is none: a layer, or a container's library between the program and its driver, hides which \
         GPU this is. Remove it (see LD_PRELOAD, /etc/ld.so.preload and the GPU-sharing plug-ins of Kubernetes)"
    } else {
        "Check CUDA_VISIBLE_DEVICES and the container's GPUs; a GPU split by MIG answers with the UUIDs of its instances"
    }
}
