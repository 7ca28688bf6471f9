//! Several GPUs that compute for the GPU that draws.

use anyhow::{Context, Result, bail};
use bridge::cuda_import::{CudaDevice, PeerAccess, peer_access, report};
use bridge::{Backend, Compute};

/// Creates a compute side of `count` GPUs for the device of `compute`: its own GPU and others that
/// can access its memory. The first of the others leads.
///
/// # Errors
/// The backend is not CUDA, there are fewer GPUs, or an error of [`Compute::group`].
pub fn several(compute: &Compute, count: u32) -> Result<Compute> {
    let drawing = compute.device();
    if compute.backend() != Backend::Cuda {
        bail!(
            "--gpus {count} computes with CUDA, and this run computes on {}: {}",
            compute.backend(),
            compute.reason()
        );
    }
    let (mut reaching, mut unreachable) = (Vec::new(), Vec::new());
    let found = report().context("CUDA's GPUs cannot be listed")?.devices;
    let total = found.len();
    for device in found.into_iter().filter(|device| device.uuid != drawing.uuid()) {
        let access = peer_access(device.uuid, drawing.uuid())?;
        if access == PeerAccess::Direct { reaching.push(device.uuid) } else { unreachable.push(device.name) }
    }
    let wanted = count as usize;
    if reaching.len() + 1 < wanted {
        let without = if unreachable.is_empty() {
            String::new()
        } else {
            format!("; without access to the memory of \"{}\": {}", drawing.name(), unreachable.join(", "))
        };
        bail!(
            "--gpus {count} takes the GPU that draws and {} more, and CUDA sees {total} in all{without}; check CUDA_VISIBLE_DEVICES, or \
             leave the option out",
            wanted - 1
        );
    }
    reaching.truncate(wanted - 1);
    reaching.push(drawing.uuid());
    let devices = reaching.into_iter().map(CudaDevice::by_uuid).collect::<Result<Vec<_>, _>>()?;
    Ok(Compute::group(drawing, &devices)?)
}
