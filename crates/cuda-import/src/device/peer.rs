//! Access between GPUs to each other's memory.

use uuid::Uuid;

use crate::device::report::report;
use crate::error::Result;
use crate::sys::Driver;

/// Whether kernels of one GPU may access the memory of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PeerAccess {
    /// Both are the same GPU.
    Same,
    /// Access is possible over NVLink or PCIe.
    Direct,
    /// Access is not possible: there is no link, or the system forbids its use (IOMMU, virtual
    /// machine, container).
    None,
    /// The GPU that owns the memory is not visible to CUDA, for example because of
    /// `CUDA_VISIBLE_DEVICES`, so it cannot be queried. Access may still be possible.
    Hidden,
}

/// Returns whether kernels of the GPU `accessing` may access the memory of the GPU `owner`. Creates
/// no context.
///
/// # Errors
/// [`Error::NoSuchDevice`](crate::Error::NoSuchDevice) if `accessing` is not visible to CUDA;
/// [`Error::DriverTooOld`](crate::Error::DriverTooOld) if the driver lacks functions; otherwise
/// those of [`report`](crate::report()).
#[doc(alias = "cuDeviceCanAccessPeer")]
pub fn peer_access(accessing: Uuid, owner: Uuid) -> Result<PeerAccess> {
    let found = report()?;
    let ordinal = |uuid| found.devices.iter().find(|device| device.uuid == uuid).map(|device| device.ordinal);
    let Some(from) = ordinal(accessing) else {
        return Err(found.no_such_device(accessing));
    };
    if accessing == owner {
        return Ok(PeerAccess::Same);
    }
    let Some(to) = ordinal(owner) else { return Ok(PeerAccess::Hidden) };
    let driver = Driver::load()?;
    let vmm = driver.vmm()?;
    // Cannot overflow: the ordinals come from an `i32` count.
    let device = |ordinal: usize| driver.device(i32::try_from(ordinal).unwrap_or(i32::MAX));
    let asked = device(from).and_then(|from| vmm.can_access_peer(from, device(to)?));
    let can = asked.map_err(|error| error.at("access to a peer's memory", &found.devices[from].name))?;
    Ok(if can { PeerAccess::Direct } else { PeerAccess::None })
}
