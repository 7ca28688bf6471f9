//! Devices whose driver seems to answer queries otherwise than the real one does, so that drivers
//! that a machine lacks can be tested on it.
#![allow(unsafe_code)] // Replacements of Vulkan functions.

use std::ffi::{CStr, c_void};
use std::sync::Arc;

use bridge::ash::{self, ext, vk};
use bridge::vk_export::{AdoptInfo, QueueLock, required_device_extensions};
use bridge::{ExportDevice, QueueKind};

/// Returns an instance's functions. `replace` returns the function to use for a name, given the
/// real function.
///
/// # Safety
/// Each returned function has the signature of the function of that name.
pub(crate) unsafe fn replaced_instance(
    entry: &ash::Entry,
    instance: &ash::Instance,
    replace: impl Fn(&CStr, *const c_void) -> *const c_void,
) -> ash::Instance {
    let load = |name: &CStr| {
        // SAFETY: the instance is alive; the name is null-terminated.
        let real = unsafe { (entry.static_fn().get_instance_proc_addr)(instance.handle(), name.as_ptr()) };
        replace(name, real.map_or(std::ptr::null(), |function| function as *const c_void))
    };
    // SAFETY: every function is the instance's own, or a replacement with the same signature.
    unsafe { ash::Instance::load_with(load, instance.handle()) }
}

/// Every submission already holds the bridge's own lock.
struct Unlocked;

impl QueueLock for Unlocked {
    fn with(&self, _: vk::Queue, f: &mut dyn FnMut()) {
        f();
    }
}

/// Returns the same device, adopted with other functions of its instance.
///
/// # Panics
/// Panics if it cannot be adopted.
pub(crate) fn adopted_with(instance: ash::Instance, device: &ExportDevice) -> ExportDevice {
    let (entry, version) = (device.entry().clone(), device.api_version());
    let queue = |kind| {
        let queue = device.queue_of(kind)?;
        Some((queue.with(|raw| raw).unwrap(), queue.family()))
    };
    let physical = device.physical();
    let more: Vec<_> = [QueueKind::Compute, QueueKind::Transfer].into_iter().filter_map(queue).collect();
    let extensions: Vec<_> = required_device_extensions(version).filter(|e| physical.has_extension(e)).collect();
    let main = queue(QueueKind::Graphics).unwrap();
    let mut info = AdoptInfo::new((entry, instance, version), physical.handle, device.as_raw().clone(), main);
    info.additional_queues = &more;
    info.device_extensions = &extensions;
    if device.is_validated() {
        info.instance_extensions = &[ext::debug_utils::NAME];
    }
    info.features.timeline_semaphore = true;
    info.features.synchronization2 = true;
    // Enabled on a device that was opened here, if the driver supports it.
    // SAFETY: the instance's own physical device.
    let features = unsafe { device.instance().get_physical_device_features(physical.handle) };
    info.features.image_cube_array = features.image_cube_array == vk::TRUE;
    info.features.buffer_device_address = device.has_buffer_device_address();
    info.queue_lock = Some(Arc::new(Unlocked));
    info.keep_alive = Some(Box::new(device.clone()));
    // SAFETY: the handles of a device that lives as long as this one, and the features enabled on
    // it.
    unsafe { ExportDevice::adopt(info) }.unwrap()
}
