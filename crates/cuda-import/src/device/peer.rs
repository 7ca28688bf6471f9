//! Which GPUs access each other's memory.

use uuid::Uuid;

use crate::device::report::report;
use crate::error::Result;
use crate::sys::Driver;

/// Whether kernels of one GPU may access memory of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PeerAccess {
    /// It is one and the same GPU.
    Same,
    /// They may, over NVLink or PCIe.
    Direct,
    /// They may not: there is no link, or the system forbids its use (IOMMU, virtual machine,
    /// container).
    None,
    /// CUDA does not see the GPU that owns the memory, as `CUDA_VISIBLE_DEVICES` may have it: it
    /// cannot be asked. Access may work all the same.
    Hidden,
}

/// Returns whether kernels of the GPU `accessing` may access memory of the GPU `owner`. Makes no
/// context.
///
/// # Errors
/// [`Error::NoSuchDevice`](crate::Error::NoSuchDevice) where CUDA does not see `accessing`;
/// [`Error::DriverTooOld`](crate::Error::DriverTooOld) where the driver lacks calls; else those of
/// [`report`](crate::report()).
#[doc(alias = "cuDeviceCanAccessPeer")]
pub fn peer_access(accessing: Uuid, owner: Uuid) -> Result<PeerAccess> {
    let found = report()?;
    let ordinal = |uuid| found.devices.iter().find(|device| device.uuid == uuid).map(|device| device.ordinal);
    let Some(from) = ordinal(accessing) else {
        return Err(found.has_no(accessing));
    };
    if accessing == owner {
        return Ok(PeerAccess::Same);
    }
    let Some(to) = ordinal(owner) else { return Ok(PeerAccess::Hidden) };
    let driver = Driver::load()?;
    let vmm = driver.vmm()?;
    // Ordinals are those of the list, and fit what they came from.
    let device = |ordinal: usize| driver.device(i32::try_from(ordinal).unwrap_or(i32::MAX));
    let asked = device(from).and_then(|from| vmm.can_access_peer(from, device(to)?));
    let can = asked.map_err(|error| error.at("access to a peer's memory", &found.devices[from].name))?;
    Ok(if can { PeerAccess::Direct } else { PeerAccess::None })
}
