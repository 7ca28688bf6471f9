//! Bevy's Vulkan device, and its use by the bridge.
#![allow(unsafe_code)] // Lends Bevy's device to the bridge.

pub(crate) mod buffer;
pub(crate) mod copier;
pub(crate) mod gate;
pub(crate) mod image;
pub(crate) mod init;
pub(crate) mod owned;
#[cfg(test)]
pub(crate) mod stand_in;
pub(crate) mod windows;

use ash::vk;
use bridge::vk_export::ExportDevice;
use bridge::{AdoptInfo, Backend, Compute, EnabledFeatures};
use wgpu::hal::api::Vulkan;

use crate::vulkan::gate::Gate;

/// The queue that copies are submitted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CopyQueue {
    /// A queue of a family that only copies, on an engine of its own.
    Transfer,
    /// A second queue of the family that draws, used only for copies.
    Second,
    /// Bevy's queue, which the program has permitted with a promise.
    Bevys,
}

/// Returns the Vulkan device of a wgpu device, even if it is lost; `None` on another backend.
///
/// It distinguishes two devices as long as both live. wgpu compares its devices by ids, which
/// restart in each instance, and the renderer's recovery creates a new instance.
pub(crate) fn raw_device(device: &wgpu::Device) -> Option<vk::Device> {
    // SAFETY: the guard is only read.
    let hal = unsafe { device.as_hal::<Vulkan>() }?;
    Some(hal.raw_device().handle())
}

/// Returns `true` if the underlying Vulkan device reports that it is lost, in the call that wgpu
/// uses.
pub(crate) fn is_lost(device: &wgpu::Device) -> bool {
    // SAFETY: the guard is used to create a semaphore on the device.
    let Some(hal) = (unsafe { device.as_hal::<Vulkan>() }) else { return false };
    let raw = hal.raw_device();
    let mut kind = vk::SemaphoreTypeCreateInfo::default().semaphore_type(vk::SemaphoreType::TIMELINE);
    let info = vk::SemaphoreCreateInfo::default().push_next(&mut kind);
    // SAFETY: wgpu enables `timelineSemaphore` on every device that supports it; sharing requires
    // it.
    let Ok(semaphore) = (unsafe { raw.create_semaphore(&info, None) }) else { return false };
    // SAFETY: created above.
    let read = unsafe { raw.get_semaphore_counter_value(semaphore) };
    // SAFETY: nothing else uses the semaphore.
    unsafe { raw.destroy_semaphore(semaphore, None) };
    read == Err(vk::Result::ERROR_DEVICE_LOST)
}

/// Returns `false` if wgpu creates nothing more on the device, because it is lost or destroyed.
pub(crate) fn is_valid(device: &wgpu::Device) -> bool {
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("nothing") });
    // SAFETY: the encoder is only tested for presence.
    unsafe { encoder.as_hal_mut::<Vulkan, _, _>(|commands| commands.is_some()) }
}

/// Adopts Bevy's device and pairs it with a compute side; or says why it cannot be.
pub(crate) fn adopt(
    device: &wgpu::Device,
    backend: Backend,
    promised: bool,
    gate: &Gate,
) -> Result<(Compute, CopyQueue), String> {
    // SAFETY: the guard is only read.
    let hal = unsafe { device.as_hal::<Vulkan>() }.ok_or("Bevy renders on another backend of wgpu than Vulkan")?;
    let addition = init::Addition::of(&hal).ok_or(
        "the device was created without what sharing needs: add `CudaPlugin` before Bevy's `RenderPlugin`, and create no \
         renderer by hand; a warning in the log says what a device lacks",
    )?;
    let queues = init::added_queues(&hal, addition);
    let bevys = (hal.raw_queue(), init::FAMILY);
    let (copies, draws, of) = match (queues.transfer, queues.second) {
        (Some(transfer), second) => (transfer, second, CopyQueue::Transfer),
        (None, Some(second)) => (second, Some(second), CopyQueue::Second),
        (None, None) if promised => (bevys, Some(bevys), CopyQueue::Bevys),
        (None, None) => {
            return Err(
                "there is no queue for copies alone: the family that draws has one, which is wgpu's, no family only \
                        copies, or another plugin has asked for their queues"
                    .to_owned(),
            );
        }
    };
    let instance = hal.shared_instance();
    let mut info = AdoptInfo::new(
        (instance.entry().clone(), instance.raw_instance().clone(), init::api_version(instance)),
        hal.raw_physical_device(),
        hal.raw_device().clone(),
        copies,
    );
    info.additional_queues = draws.as_slice();
    let mut features = EnabledFeatures::default();
    // wgpu enables it on every device that supports it, which the callback has checked.
    features.timeline_semaphore = true;
    features.synchronization2 = true;
    info.features = features;
    let extensions = hal.enabled_device_extensions().to_vec();
    info.device_extensions = &extensions;
    info.instance_extensions = instance.extensions();
    info.queue_lock = Some(gate.lock());
    info.keep_alive = Some(Box::new(device.clone()));
    // SAFETY: the handles belong to one wgpu device, which lives as long as its clone in
    // `keep_alive`, as does its instance. The extensions are those that wgpu enabled, and the
    // features were enabled by the callback and by wgpu. The queue is used by this crate alone, or
    // it is Bevy's and the program has promised that nothing else is submitted at the same time.
    let export = unsafe { ExportDevice::adopt(info) }.map_err(|error| error.to_string())?;
    let compute = Compute::new(&export, backend).map_err(|error| error.to_string())?;
    Ok((compute, of))
}
