//! Compute sides on GPUs other than the drawing GPU.

pub(crate) mod probe;

use cuda_import::{CudaDevice, PeerAccess, peer_access};
use vk_export::ExportDevice;

use crate::compute::cuda::CudaCompute;
use crate::compute::gpus::Gpus;
use crate::compute::per_backend::PerBackend;
use crate::compute::{Compute, Inner};
use crate::error::{Error, Result};
use crate::observe::{log_info, trace};

/// Text for errors about a drawing GPU that CUDA does not see.
const HIDDEN: &str = "; CUDA does not see the GPU that draws (CUDA_VISIBLE_DEVICES), so it cannot be asked whether the two have \
     access to each other: let it see both to find out";

impl Compute {
    /// Creates a compute side with CUDA on a GPU other than the drawing GPU. It has the same
    /// exchanges and turns, and computes into memory of the drawing GPU, over NVLink or PCIe,
    /// without a copy. Kernels do not run on the drawing GPU, so a hand-over costs no context
    /// switch.
    ///
    /// The size of a buffer is rounded up to pages of 2 MiB, see
    /// [`Placement::Peers`](vk_export::Placement::Peers). Images are [rows](crate::ImageSpec) in
    /// such a buffer, which the hand-over copies on the drawing GPU. The drawing GPU needs no CUDA
    /// context and may be hidden by `CUDA_VISIBLE_DEVICES`. `cuda` may also be the drawing GPU
    /// itself, but [`Compute::new`] is the better choice then: it has textures and surfaces.
    ///
    /// A probe runs before anything is shared: a timeline is signaled in both directions, and the
    /// other GPU writes memory that Vulkan reads. On a device that was adopted without a
    /// [`queue_lock`](crate::AdoptInfo::queue_lock) nothing is submitted, and CUDA reads the memory
    /// back instead. If a probe does not complete within 5 s, the objects that it may still use
    /// (command pools and buffers, and therefore the device) are never freed.
    ///
    /// Do not call it while you hold the lock of the engine's [`QueueLock`](vk_export::QueueLock):
    /// it submits to the queue to test the access.
    ///
    /// # Errors
    /// [`Error::NoPeer`] naming both GPUs, if one cannot access the other's memory or the probe
    /// fails; [`vk_export::Error::Missing`] listing what the device lacks for exporting;
    /// [`Error::Cuda`] if a stream cannot be created or the device does not support timeline
    /// semaphores.
    #[doc(alias = "cuMemImportFromShareableHandle")]
    #[doc(alias = "cuMemSetAccess")]
    pub fn on_peer(device: &ExportDevice, cuda: &CudaDevice) -> Result<Self> {
        Self::group(device, std::slice::from_ref(cuda))
    }

    /// Creates a compute side with CUDA on several GPUs, which compute each frame together:
    /// [`ComputeTurn::work_split`](crate::ComputeTurn::work_split) lends each of them a range of
    /// the elements on its own stream. The first GPU leads: its stream waits for Vulkan and signals
    /// Vulkan, and events order the work of the other streams between the wait and the signal.
    /// [`ComputeTurn::work`](crate::ComputeTurn::work) runs on the leader, with all elements. Only
    /// the leader can access images; to split one, share its texels as a buffer.
    ///
    /// The drawing GPU may be one of them. Everything else is as for [`on_peer`](Self::on_peer).
    #[doc = concat!("\n# Examples\n```no_run\n# #![allow(unsafe_code)]\n", include_str!("../../../docs/group.rs"), "# fn main() {}\n```")]
    ///
    /// Do not call it while you hold the lock of the engine's [`QueueLock`](vk_export::QueueLock):
    /// it submits to the queue to test the access.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if `cuda` is empty or contains a device twice, otherwise the
    /// errors of [`on_peer`](Self::on_peer).
    pub fn group(device: &ExportDevice, cuda: &[CudaDevice]) -> Result<Self> {
        trace::init();
        let invalid = |reason: String| Error::invalid("a group of CUDA devices", reason);
        let Some((first, others)) = cuda.split_first() else {
            return Err(invalid("it has no device; give at least one".into()));
        };
        let twice =
            cuda.iter().enumerate().find(|(place, one)| cuda[..*place].iter().any(|it| it.uuid() == one.uuid()));
        if let Some((_, twice)) = twice {
            return Err(invalid(format!("{} ({}) is given twice", twice.name(), twice.uuid())));
        }
        device.require_export("sharing with CUDA on another GPU")?;
        first.require_timeline_semaphores("the exchange's timelines")?;
        let access = cuda.iter().map(|one| check_access(device, one)).collect::<Result<Vec<_>>>()?;
        let gpus = Gpus::peers(device, first, others)?;
        let hidden = if access.contains(&PeerAccess::Hidden) { HIDDEN } else { "" };
        probe::run(&gpus, device).map_err(|failed| {
            no_peer(device, &cuda[failed.gpu.min(others.len())], format!("{}{hidden}", failed.reason))
        })?;
        let names =
            cuda.iter().map(|one| format!("{} (CUDA device {})", one.name(), one.ordinal())).collect::<Vec<_>>();
        let reason = format!("{} writes memory of \"{}\"", names.join(" and "), device.name());
        log_info!("computing with CUDA on another GPU: {reason}");
        let side = PerBackend::Cuda(CudaCompute::new(gpus));
        Ok(Self(Inner::new(side, device.clone(), reason)))
    }
}

/// Checks that CUDA does not report that peer access is impossible.
fn check_access(device: &ExportDevice, cuda: &CudaDevice) -> Result<PeerAccess> {
    let access = peer_access(cuda.uuid(), device.uuid());
    match access.map_err(|error| no_peer(device, cuda, error.to_string()))? {
        PeerAccess::None => Err(no_peer(
            device,
            cuda,
            "CUDA reports no peer access between them (cuDeviceCanAccessPeer). It requires NVLink or peer-to-peer \
             over PCIe, which an IOMMU, a virtual machine or a container may forbid; `nvidia-smi topo -p2p rw` shows \
             which pairs have it"
                .into(),
        )),
        access => Ok(access),
    }
}

fn no_peer(device: &ExportDevice, cuda: &CudaDevice, reason: String) -> Error {
    Error::NoPeer {
        vulkan: device.name().to_owned(),
        vulkan_uuid: device.uuid(),
        cuda: cuda.name().to_owned(),
        cuda_uuid: cuda.uuid(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_names_both_gpus_and_gives_advice() {
        let error = Error::NoPeer {
            vulkan: "GPU A".into(),
            vulkan_uuid: vk_export::Uuid::from_u128(1),
            cuda: "GPU B".into(),
            cuda_uuid: vk_export::Uuid::from_u128(2),
            reason: format!("its timelines do not work there: no{HIDDEN}"),
        };
        let text = error.to_string();
        let named = ["GPU A", "GPU B", "-000000000001", "-000000000002", "CUDA_VISIBLE_DEVICES", "Compute::new"];
        assert!(named.iter().all(|part| text.contains(part)), "{text}");
    }
}
