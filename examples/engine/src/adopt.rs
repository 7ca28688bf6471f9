//! Lends the engine's device to the bridge. Shared by all systems.
#![allow(unsafe_code)] // The engine's handles.

use std::sync::Arc;

use anyhow::Result;
use ash::vk;
use bridge::{AdoptInfo, Backend, Compute, ExportDevice, QueueLock, requirements_for};
use engine_core::Gpu;
use engine_core::gpu::VERSION;

/// Returns the extensions that the engine has to enable for the bridge when it creates its device.
///
/// # Errors
/// The error lists everything that the device lacks.
pub fn extensions(
    instance: &ash::Instance,
    version: u32,
    physical: vk::PhysicalDevice,
) -> Result<Vec<&'static std::ffi::CStr>> {
    // SAFETY: the engine's instance, created with this version, and one of its devices.
    let needed = unsafe { requirements_for(instance, version, physical) }?;
    needed.check_met()?;
    needed.optional.iter().for_each(|optional| log::debug!("{optional}"));
    Ok(needed.extensions)
}

/// The engine's queue lock, with the bridge's interface.
struct Lock(Arc<Gpu>);

impl QueueLock for Lock {
    fn with(&self, _: vk::Queue, f: &mut dyn FnMut()) {
        self.0.queue().with(|_| f());
    }
}

/// Lends the device and opens the compute side.
///
/// # Errors
/// The device lacks a requirement of the backend.
pub fn compute(gpu: &Arc<Gpu>, backend: Backend) -> Result<Compute> {
    let queue = (gpu.queue().with(|queue| queue), gpu.queue().family());
    let instance = (gpu.entry().clone(), gpu.instance().clone(), VERSION);
    let mut info = AdoptInfo::new(instance, gpu.physical(), gpu.device().clone(), queue);
    info.device_extensions = gpu.extensions();
    info.instance_extensions = gpu.instance_extensions();
    info.features.timeline_semaphore = true;
    info.features.synchronization2 = true;
    // To adopt it again, or another device under the same mutex, pass a clone of this `Arc`.
    info.queue_lock = Some(Arc::new(Lock(Arc::clone(gpu))));
    info.keep_alive = Some(Box::new(Arc::clone(gpu)));
    // SAFETY: the handles belong to the engine, which the device keeps alive; the lists contain
    // what the engine enabled; all submissions of the engine hold the lock.
    let device = unsafe { ExportDevice::adopt(info) }?;
    Ok(Compute::new(&device, backend)?)
}
