//! Which CUDA device a worker computes on.

use bridge_ipc::Hello;
use bridge_trace::log_warn;
use cuda_import::{CudaDevice, PeerAccess, Uuid, peer_access, probe};

use crate::error::Error;

/// The device asked for; else the renderer's own GPU; else, where CUDA does not see that one, the
/// first that may reach its memory.
pub(crate) fn choose(renderer: &Hello, asked: Option<Uuid>) -> Result<CudaDevice, Error> {
    let owner = renderer.device_uuid;
    if let Some(asked) = asked {
        return Ok(CudaDevice::by_uuid(asked)?);
    }
    let found = probe()?;
    if found.devices.iter().any(|device| device.uuid == owner) {
        return Ok(CudaDevice::by_uuid(owner)?);
    }
    for device in &found.devices {
        if device.timeline_semaphores && !matches!(peer_access(device.uuid, owner), Ok(PeerAccess::None) | Err(_)) {
            log_warn!(
                "CUDA does not see the renderer's GPU ({owner}): {} computes, and writes its memory over the link between them",
                device.name
            );
            return Ok(CudaDevice::by_uuid(device.uuid)?);
        }
    }
    Ok(CudaDevice::by_uuid(owner)?)
}

/// The error of a timeline that the renderer's GPU has exported and `device` does not take.
///
/// `CUDA_ERROR_INVALID_DEVICE` where `CUDA_VISIBLE_DEVICES` hides the GPU that draws, although
/// memory of it can be imported (two H200s, driver 580.159.04, 2026-11-28).
pub(crate) fn refused_timeline(device: &CudaDevice, renderer: Uuid, source: cuda_import::Error) -> Error {
    let is_visible = |found: cuda_import::DriverReport| found.devices.iter().any(|device| device.uuid == renderer);
    if probe().is_ok_and(is_visible) {
        return source.into();
    }
    Error::HiddenGpu { device: device.name().to_owned(), renderer, source: Box::new(source) }
}
