//! Compute sides on other GPUs: a test is skipped if it needs more GPUs than there are; any other
//! failure fails the test.

use bridge::cuda_import::{CudaDevice, PeerAccess, peer_access};
use bridge::{Compute, ExportDevice};

use crate::{Need, Rig, cuda_devices, skip};

/// The GPUs that compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peers {
    /// The GPU that draws, as a peer of itself: memory is imported as for other GPUs. Needs one
    /// GPU.
    Own,
    /// Only another GPU.
    Other,
    /// Another GPU, which leads, and the GPU that draws.
    Both,
}

impl Peers {
    /// Runs a test, or skips it if the machine has too few GPUs.
    ///
    /// # Panics
    /// Panics if the test fails, if the compute side cannot be created although the GPUs can access
    /// each other, or if the validation layer reports anything.
    pub fn run(self, test: fn(&Rig, &Compute)) {
        self.run_on(&Rig::open(), test);
    }

    /// Like [`run`](Self::run), on a device with [`SmallLimits`](crate::SmallLimits).
    ///
    /// # Panics
    /// Panics as [`run`](Self::run) does.
    pub fn run_with_small_limits(self, test: fn(&Rig, &Compute)) {
        self.run_on(&Rig::open_with_small_limits(), test);
    }

    fn run_on(self, rig: &Rig, test: fn(&Rig, &Compute)) {
        let Some(devices) = self.devices(rig.device()) else { return };
        let compute = Compute::group(rig.device(), &devices);
        test(rig, &compute.unwrap_or_else(|error| panic!("{self:?}: {error}")));
    }

    /// Returns the devices; returns `None` and skips the test if the machine has too few.
    ///
    /// # Panics
    /// Panics if an available device does not start.
    pub fn devices(self, drawing: &ExportDevice) -> Option<Vec<CudaDevice>> {
        let found = cuda_devices()?;
        let open = |uuid| CudaDevice::by_uuid(uuid).unwrap_or_else(|error| panic!("{error}"));
        let own = found.iter().find(|device| device.uuid == drawing.uuid());
        let Some(own) = own else {
            skip(Need::Gpu, &format!("CUDA does not have \"{}\"", drawing.name()));
            return None;
        };
        if self == Self::Own {
            return Some(vec![open(own.uuid)]);
        }
        let reaches = |from, to| peer_access(from, to).is_ok_and(|access| access == PeerAccess::Direct);
        let other = found.iter().find(|device| device.uuid != own.uuid && reaches(device.uuid, own.uuid));
        let Some(other) = other else {
            let reason = "there are no two GPUs of which one reaches the other's memory";
            skip(Need::Other, reason);
            return None;
        };
        Some(match self {
            Self::Own | Self::Other => vec![open(other.uuid)],
            Self::Both => vec![open(other.uuid), open(own.uuid)],
        })
    }
}

/// Generates a test from a `fn(&Rig, &Compute)` for compute in memory of another GPU, in the three
/// ways of [`Peers`].
#[macro_export]
macro_rules! on_peers {
    ($($name:ident),+ $(,)?) => {
        mod on_the_drawing_gpu_as_a_peer {
            $(#[test] fn $name() { $crate::Peers::Own.run(super::$name) })+
        }
        mod on_another_gpu {
            $(#[test] fn $name() { $crate::Peers::Other.run(super::$name) })+
        }
        mod on_two_gpus {
            $(#[test] fn $name() { $crate::Peers::Both.run(super::$name) })+
        }
    };
}

/// Generates a test from a `fn(&Rig, &Compute)` for compute on only another GPU, if the three ways
/// of [`on_peers`] do not differ for the test.
#[macro_export]
macro_rules! on_another_gpu_alone {
    ($($name:ident),+ $(,)?) => {
        mod on_another_gpu_alone {
            $(#[test] fn $name() { $crate::Peers::Other.run(super::$name) })+
        }
    };
}
