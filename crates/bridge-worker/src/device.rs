//! The choice of the CUDA device that a worker computes on.

use bridge_ipc::Hello;
use bridge_trace::log_warn;
use cuda_import::{CudaDevice, PeerAccess, Uuid, peer_access, report};

use crate::error::{Error, Result};

/// Chooses the device: the requested one; otherwise the renderer's GPU; or, if CUDA does not see
/// that GPU and `insists` is set, the first device that may access its memory. Also returns the
/// reason.
pub(crate) fn choose(renderer: &Hello, asked: Option<Uuid>, insists: bool) -> Result<(CudaDevice, String)> {
    let owner = renderer.device_uuid;
    if let Some(asked) = asked {
        return Ok((CudaDevice::by_uuid(asked)?, "this device was requested".to_owned()));
    }
    let found = report()?;
    let is_hidden = found.devices.iter().all(|device| device.uuid != owner);
    for device in found.devices.iter().filter(|_| insists && is_hidden) {
        if device.timeline_semaphores && !matches!(peer_access(device.uuid, owner), Ok(PeerAccess::None) | Err(_)) {
            let reason =
                format!("CUDA does not see the GPU that draws ({owner}), whose memory {} may reach", device.name);
            log_warn!("the worker computes on another GPU than the one that draws: {reason}");
            return Ok((CudaDevice::by_uuid(device.uuid)?, reason));
        }
    }
    Ok((CudaDevice::by_uuid(owner)?, "it is the GPU that draws".to_owned()))
}

/// Returns the error of an import that has failed on `device`, of a timeline of the renderer's GPU.
///
/// The import fails with `CUDA_ERROR_INVALID_DEVICE` if `CUDA_VISIBLE_DEVICES` hides the GPU that
/// draws, although its memory can be imported (two H200s, driver 580.159.04, 2026-11-28).
pub(crate) fn refused_timeline(device: &CudaDevice, renderer: Uuid, source: cuda_import::Error) -> Error {
    let is_visible = |found: cuda_import::CudaReport| found.devices.iter().any(|device| device.uuid == renderer);
    if report().is_ok_and(is_visible) {
        return source.into();
    }
    Error::HiddenGpu { device: device.name().to_owned(), renderer, source: Box::new(source) }
}
